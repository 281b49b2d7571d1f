"""Metadata definitions as the unmodified clients see them: the ``openstack`` command and openstacksdk."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.clients.laptop import laptop
from tests.clients.story import Openstack, openstack_program

openstack = pytest.importorskip("openstack", reason="openstacksdk is not installed")
pytestmark = [
    pytest.mark.clients,
    pytest.mark.timeout(300),
    pytest.mark.skipif(openstack_program() is None, reason="python-openstackclient is not installed"),
    pytest.mark.filterwarnings("ignore"),  # the client's own
]


def _connect(state: Path, cloud: str) -> Any:
    loader = openstack.config.OpenStackConfig(config_files=[str(state / "clouds.yaml")], load_envvars=False)
    return openstack.connection.Connection(config=loader.get_one(cloud=cloud))


def _by_the_command(state: Path) -> None:
    admin, demo = Openstack(state / "clouds.yaml", "starling"), Openstack(state / "clouds.yaml", "demo")
    admin.text("image", "metadef", "namespace", "create", "Acme", "--public", "--description", "of Acme")
    schema = json.dumps({"enum": ["red", "blue"]})
    words = ["--name", "colour", "--title", "Colour", "--type", "string", "--schema", schema]
    admin.text("image", "metadef", "property", "create", "Acme", *words)
    admin.text("image", "metadef", "resource", "type", "association", "create", "Acme", "OS::Nova::Flavor")
    admin.text("image", "metadef", "object", "create", "--namespace", "Acme", "paint")
    listed = demo.json("image", "metadef", "namespace", "list")
    assert {"Acme", "Starling::Compute::Architecture"} <= {row["namespace"] for row in listed}
    assert demo.json("image", "metadef", "namespace", "show", "Acme")["description"] == "of Acme"
    assert demo.json("image", "metadef", "property", "show", "Acme", "colour")["enum"] == ["red", "blue"]
    assert demo.json("image", "metadef", "object", "show", "Acme", "paint")["name"] == "paint"
    assert "403" in demo.fails("image", "metadef", "namespace", "delete", "Acme")
    admin.text("image", "metadef", "namespace", "delete", "Acme")
    assert "404" in demo.fails("image", "metadef", "namespace", "show", "Acme")


def _by_the_library(state: Path) -> None:
    images = _connect(state, "starling").image
    namespace = images.create_metadef_namespace(namespace="Sdk", visibility="public")
    images.update_metadef_namespace(namespace, display_name="new")
    assert images.get_metadef_namespace("Sdk").display_name == "new"
    for name in ("a", "b", "c"):
        images.create_metadef_object(namespace, name=name)
    assert sorted(found.name for found in images.metadef_objects(namespace)) == ["a", "b", "c"]
    images.create_metadef_property(namespace, name="p", title="P", type="integer", minimum=1)
    assert [(found.name, found.minimum) for found in images.metadef_properties(namespace)] == [("p", 1)]
    namespace.set_tags(images, ["x", "y"])
    images.create_metadef_resource_type_association(namespace, name="OS::Cinder::Volume")
    associations = images.metadef_resource_type_associations(namespace)
    assert [found.name for found in associations] == ["OS::Cinder::Volume"]
    assert "OS::Cinder::Volume" in {found.name for found in images.metadef_resource_types()}
    assert images.get_metadef_namespace_schema().properties["namespace"]
    names = {found.namespace for found in images.metadef_namespaces(limit=1)}
    assert {"Sdk", "Starling::Compute::Architecture", "Starling::Software::OperatingSystem"} <= names
    images.delete_all_metadef_objects(namespace)
    images.delete_metadef_namespace(namespace)


def test_definitions_by_the_command_and_the_library(tmp_path: Path) -> None:
    with laptop(tmp_path, STARLING_HYPERVISOR="simulated") as state:
        _by_the_command(state)
        _by_the_library(state)
