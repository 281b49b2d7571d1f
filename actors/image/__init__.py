"""The image: its record and the life of its data. The bytes never pass through here."""
