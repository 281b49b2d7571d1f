"""The OpenStack config drive: what a guest reads about itself from a small CD-ROM.

Pure: the same specification gives the same bytes. It decides no contents beyond the published
layout, and nothing here touches a disk.

Source: OpenStack Compute user guide, "Config drives"; layout versions as in
``nova/api/metadata/base.py``; ``network_data.json`` by its published schema.
"""

import base64
import binascii
import io
import ipaddress
from typing import Any, Final

import msgspec
from pycdlib import PyCdlib
from pycdlib.dates import DirectoryRecordDate, VolumeDescriptorDate
from pycdlib.dr import DirectoryRecord

from hostagent.driver import DriverError
from protocol.guest import GuestNic, GuestSpec

LABEL: Final = "config-2"
CONFIG_DRIVE_BYTES_MAX: Final = 8 << 20

_META, _USER = "meta_data.json", "user_data"
_VENDOR, _NETWORK, _VENDOR2 = "vendor_data.json", "network_data.json", "vendor_data2.json"
_VERSIONS: Final[dict[str, tuple[str, ...]]] = {
    # Each version of the layout has the files that were known when it was published.
    "2012-08-10": (_META, _USER),
    "2013-04-04": (_META, _USER),
    "2013-10-17": (_META, _USER, _VENDOR),
    "2015-10-15": (_META, _USER, _VENDOR, _NETWORK),
    "2016-06-30": (_META, _USER, _VENDOR, _NETWORK),
    "2016-10-06": (_META, _USER, _VENDOR, _NETWORK, _VENDOR2),
    "2017-02-22": (_META, _USER, _VENDOR, _NETWORK, _VENDOR2),
    "2018-08-27": (_META, _USER, _VENDOR, _NETWORK, _VENDOR2),
    "latest": (_META, _USER, _VENDOR, _NETWORK, _VENDOR2),
}
_RECORD_DATE: Final = bytes((100, 1, 1, 0, 0, 0, 0))  # 1 January 2000, UTC
_VOLUME_DATE: Final = b"2000010100000000\x00"
_FIRST_DESCRIPTOR, _SECTOR_BYTES, _TERMINATOR, _MODIFICATION_DATE_AT = 16, 2_048, 255, 830
_ISO_LEVEL: Final = 4  # long lower-case names for readers that know no Joliet
_JOLIET_LEVEL: Final = 3


def config_drive(spec: GuestSpec) -> bytes:
    """The ISO 9660 image with label ``config-2``.

    Raises ``DriverError`` ``config_drive_too_large`` beyond CONFIG_DRIVE_BYTES_MAX, and
    ``unsupported`` when the user data is not base64.
    """
    files = contents(spec)
    if sum(map(len, files.values())) > CONFIG_DRIVE_BYTES_MAX:
        raise DriverError("config_drive_too_large", "The instance's metadata and user data are too large.")
    return _iso(files)


def contents(spec: GuestSpec) -> dict[str, bytes]:
    """The files of the drive by path, as ``openstack/latest/meta_data.json``."""
    parts = {
        _META: _json(_meta_data(spec)),
        _USER: _user_data(spec),
        _VENDOR: _json({}),
        _NETWORK: _json(_network_data(spec.nics)),
        _VENDOR2: _json({}),
    }
    return {
        f"openstack/{version}/{name}": parts[name]
        for version, names in _VERSIONS.items()
        for name in names
        if name != _USER or parts[_USER]
    }


def _meta_data(spec: GuestSpec) -> dict[str, Any]:
    keys = sorted(spec.public_keys.items())
    return {
        "uuid": spec.instance,
        "name": spec.name,
        "hostname": spec.hostname,
        "project_id": spec.project,
        "availability_zone": spec.availability_zone,
        "launch_index": spec.launch_index,
        "meta": dict(sorted(spec.metadata.items())),
        "public_keys": dict(keys),
        "keys": [{"name": name, "type": "ssh", "data": data} for name, data in keys],
        "devices": [],
    }


def _user_data(spec: GuestSpec) -> bytes:
    try:
        return base64.b64decode(spec.user_data, validate=True)
    except (binascii.Error, ValueError) as error:
        raise DriverError("unsupported", "The user data is not base64.") from error


def _network_data(nics: tuple[GuestNic, ...]) -> dict[str, Any]:
    return {
        "links": [
            {
                "id": f"tap{nic.port[:11]}",
                "vif_id": nic.port,
                "type": "bridge",
                "mtu": nic.mtu,
                "ethernet_mac_address": nic.mac,
            }
            for nic in nics
        ],
        "networks": [_network(number, nic) for number, nic in enumerate(nics)],
        "services": [],
    }


def _network(number: int, nic: GuestNic) -> dict[str, Any]:
    network: dict[str, Any] = {
        "id": f"network{number}",
        "link": f"tap{nic.port[:11]}",
        "network_id": nic.network,
    }
    if not nic.ip:
        return network | {"type": "ipv4_dhcp"}
    interface = ipaddress.ip_interface(f"{nic.ip}/{nic.prefix_len}")
    anywhere = "0.0.0.0" if isinstance(interface, ipaddress.IPv4Interface) else "::"  # noqa: S104  a route, not a socket
    routes = [{"network": anywhere, "netmask": anywhere, "gateway": nic.gateway}] if nic.gateway else []
    return network | {
        "type": f"ipv{interface.version}",
        "ip_address": nic.ip,
        "netmask": str(interface.netmask),
        "routes": routes,
        "services": [],
    }


def _json(value: dict[str, Any]) -> bytes:
    return msgspec.json.encode(value)


def _iso(files: dict[str, bytes]) -> bytes:
    iso = PyCdlib()
    iso.new(interchange_level=_ISO_LEVEL, joliet=_JOLIET_LEVEL, vol_ident=LABEL)
    made: set[str] = set()
    for path, content in files.items():
        folder = ""
        for part in path.split("/")[:-1]:
            folder = f"{folder}/{part}"
            if folder not in made:
                iso.add_directory(folder, joliet_path=folder)
                made.add(folder)
        iso.add_fp(io.BytesIO(content), len(content), f"/{path}", joliet_path=f"/{path}")
    _pin_dates(iso)
    image = io.BytesIO()
    iso.write_fp(image)
    iso.close()
    data = bytearray(image.getvalue())
    _pin_modification_dates(data)
    return bytes(data)


def _pin_dates(iso: PyCdlib) -> None:
    """Replace the dates that pycdlib took from the system's clock."""
    volume_date = VolumeDescriptorDate()
    volume_date.parse(_VOLUME_DATE)
    for volume in (iso.pvd, iso.joliet_vd, iso.enhanced_vd):
        if volume is not None:
            volume.volume_creation_date = volume.volume_effective_date = volume_date
            _pin_record_dates(volume.root_directory_record())


def _pin_record_dates(record: DirectoryRecord) -> None:
    record.date = DirectoryRecordDate()
    record.date.parse(_RECORD_DATE)
    for child in record.children:
        if child.is_dot() or child.is_dotdot():
            child.date = record.date
        else:
            _pin_record_dates(child)


def _pin_modification_dates(image: bytearray) -> None:
    """Overwrite the one date that pycdlib renews while it writes (ECMA-119, 8.4.27)."""
    sector = _FIRST_DESCRIPTOR * _SECTOR_BYTES
    while image[sector] != _TERMINATOR:
        at = sector + _MODIFICATION_DATE_AT
        image[at : at + len(_VOLUME_DATE)] = _VOLUME_DATE
        sector += _SECTOR_BYTES
