"""Makes the libvirt fixtures known to the driver tests."""

from tests.fixtures.libvirtd import guest_image, guest_image_path, libvirtd_uri

__all__ = ["guest_image", "guest_image_path", "libvirtd_uri"]
