"""The HTTP front: every API of the cloud on one port, stateless, any number of processes.

Handlers parse, ask a read connection or send a command, and shape the answer. No lifecycle rule
belongs here: a 409's text comes from the actor that refused.
"""
