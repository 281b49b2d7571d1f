"""What an image record may hold. Source: Image API v2 schema and Glance's default quotas."""

from typing import Final

NAME_LENGTH_MAX: Final = 255
OWNER_LENGTH_MAX: Final = 255
TAG_LENGTH_MAX: Final = 255
TAGS_MAX: Final = 128
PROPERTIES_MAX: Final = 128
PROPERTY_NAME_LENGTH_MAX: Final = 255
PROPERTY_VALUE_LENGTH_MAX: Final = 65_535
PROPERTIES_LENGTH_MAX: Final = 256 * 1024
"""Characters of all names and values together: a record travels in one message, and in lists of images."""
MIN_MAX: Final = (1 << 31) - 1
"""Of min_disk (GiB) and min_ram (MiB)."""
MEMBERS_MAX: Final = 128
UPLOADS_MAX: Final = 32
"""Uploads through one gateway at the same time; each holds up to two blocks of memory."""
