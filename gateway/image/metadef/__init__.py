"""Metadata definitions of the Image API: what properties images, flavors and volumes can have, in words."""
