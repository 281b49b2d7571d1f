"""The config drive, read back as a guest would."""

import base64
import io
import json
from typing import Any

import pytest
from msgspec.structs import replace
from pycdlib import PyCdlib

from hostagent import config_drive as module
from hostagent.config_drive import config_drive, contents
from hostagent.driver import DriverError
from protocol.guest import GuestNic, GuestSpec
from tests.hostagent.drivers.specs import INSTANCE, spec

NIC = GuestNic(
    port="7b2e4a10-0000-4000-8000-000000000001",
    network="7b2e4a10-0000-4000-8000-0000000000ff",
    mac="fa:16:3e:00:00:11",
    ip="10.0.0.11",
    gateway="10.0.0.1",
)


def _full() -> GuestSpec:
    return replace(
        spec(),
        nics=(NIC, replace(NIC, ip="")),
        user_data=base64.b64encode(b"#!/bin/sh\necho hi\n").decode(),
        public_keys={"me": "ssh-ed25519 AAAA me@here"},
        metadata={"role": "web", "note": "Grüße"},
    )


def _read(image: bytes, path: str) -> bytes:
    iso = PyCdlib()
    iso.open_fp(io.BytesIO(image))
    out = io.BytesIO()
    iso.get_file_from_iso_fp(out, joliet_path=path)
    iso.close()
    return out.getvalue()


def _json(path: str) -> Any:
    return json.loads(contents(_full())[f"openstack/latest/{path}"])


def test_every_file_reads_back_under_its_long_name() -> None:
    image = config_drive(_full())
    for path, content in contents(_full()).items():
        assert _read(image, f"/{path}") == content


def test_label_and_descriptors() -> None:
    image = config_drive(_full())
    assert image[32_768 + 40 : 32_768 + 72].rstrip() == b"config-2"


def test_meta_data() -> None:
    meta = _json("meta_data.json")
    assert (meta["uuid"], meta["hostname"]) == (INSTANCE, "web-1")
    assert meta["meta"] == {"note": "Grüße", "role": "web"}
    assert meta["keys"] == [{"name": "me", "type": "ssh", "data": "ssh-ed25519 AAAA me@here"}]


def test_network_data() -> None:
    network = _json("network_data.json")
    assert [link["ethernet_mac_address"] for link in network["links"]] == [NIC.mac, NIC.mac]
    static, dynamic = network["networks"]
    assert (static["type"], static["ip_address"], static["netmask"]) == ("ipv4", "10.0.0.11", "255.255.255.0")
    anywhere = "0.0.0.0"  # noqa: S104  a route, not a socket
    assert static["routes"] == [{"network": anywhere, "netmask": anywhere, "gateway": "10.0.0.1"}]
    assert dynamic["type"] == "ipv4_dhcp"


def test_user_data_is_decoded_and_left_out_when_empty() -> None:
    assert contents(_full())["openstack/latest/user_data"] == b"#!/bin/sh\necho hi\n"
    assert "openstack/latest/user_data" not in contents(spec())


def test_old_versions_hold_only_what_was_known_then() -> None:
    names = {path.removeprefix("openstack/2012-08-10/") for path in contents(_full()) if "2012-08-10" in path}
    assert names == {"meta_data.json", "user_data"}


def test_same_specification_same_bytes_on_any_day(monkeypatch: pytest.MonkeyPatch) -> None:
    first = config_drive(_full())
    monkeypatch.setattr("time.time", lambda: 2_000_000_000.0)
    assert config_drive(_full()) == first


def test_too_large_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "CONFIG_DRIVE_BYTES_MAX", 100)
    with pytest.raises(DriverError) as refused:
        config_drive(_full())
    assert refused.value.code == "config_drive_too_large"


def test_user_data_that_is_not_base64_is_refused() -> None:
    with pytest.raises(DriverError):
        config_drive(replace(spec(), user_data="not base64!"))
