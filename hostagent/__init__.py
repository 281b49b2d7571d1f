"""The part that runs on each host: command → journal → driver → answer. Never imports store."""
