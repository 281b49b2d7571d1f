"""The Image API v2: records through the image's actor, data through the image store."""
