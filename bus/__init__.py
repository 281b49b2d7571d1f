"""Mailboxes on the message bus. The only package that imports aio_pika."""
