"""Settings: where a value comes from, and what is said when it is wrong."""

from pathlib import Path

import pytest

from process.settings import Settings, SettingsError, load_settings


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "starling.toml"
    path.write_text('port = 9000\nregion = "north"\n')
    return path


def test_without_anything_the_defaults_hold(tmp_path: Path) -> None:
    assert load_settings({"STARLING_STATE": str(tmp_path)}) == Settings(state=str(tmp_path))


def test_variables_win_over_the_file_and_the_file_over_defaults(file: Path) -> None:
    settings = load_settings({"STARLING_CONFIG": str(file), "STARLING_PORT": "9001"})
    assert (settings.port, settings.region, settings.partitions) == (9001, "north", 16)


def test_the_file_of_the_state_folder_is_found(file: Path) -> None:
    assert load_settings({"STARLING_STATE": str(file.parent)}).port == 9000


def test_numbers_and_switches_are_read_from_text(tmp_path: Path) -> None:
    environment = {
        "STARLING_STATE": str(tmp_path),
        "STARLING_LEASE_S": "2.5",
        "STARLING_TRUST_FORWARDED": "false",
    }
    settings = load_settings(environment)
    assert settings.lease_s == 2.5
    assert settings.trust_forwarded is False


def test_tables_are_read_from_the_file_or_as_json(tmp_path: Path) -> None:
    path = tmp_path / "starling.toml"
    path.write_text('[image_stores.fast]\nkind = "file"\noptions = { path = "/srv" }\n')
    stores = {"fast": {"kind": "file", "options": {"path": "/srv"}}}
    assert load_settings({"STARLING_STATE": str(tmp_path)}).image_stores == stores
    variable = '{"far": {"kind": "s3"}}'
    settings = load_settings({"STARLING_STATE": str(tmp_path), "STARLING_IMAGE_STORES": variable})
    assert settings.image_stores == {"far": {"kind": "s3"}}


def test_a_role_falls_back_to_the_common_database() -> None:
    settings = Settings(database_url="postgresql:///all", database_url_worker="postgresql:///mine")
    assert settings.database_for("worker") == "postgresql:///mine"
    assert settings.database_for("gateway") == "postgresql:///all"


@pytest.mark.parametrize(
    ("variable", "value", "says"),
    [
        ("STARLING_PROT", "1", "STARLING_PROT: there is no setting 'prot'; did you mean port"),
        ("STARLING_QQQQ", "1", "STARLING_QQQQ: there is no setting 'qqqq'"),
        ("STARLING_PORT", "http", "STARLING_PORT: port must be int"),
        ("STARLING_PORT", "70000", "STARLING_PORT: port must be between 1 and 65535, not 70000"),
        ("STARLING_LEASE_S", "nan", "STARLING_LEASE_S: lease_s must be between 1 and 60"),
        ("STARLING_LOG_FORMAT", "xml", "STARLING_LOG_FORMAT: log_format must be Literal"),
        ("STARLING_AMQP_URL", "http://mq/", "STARLING_AMQP_URL: amqp_url must begin with amqp://"),
        ("STARLING_DATABASE_URL_WORKER", "db:5432/x", "database_url_worker must begin with postgresql://"),
        ("STARLING_IMAGE_STORES", "{", "STARLING_IMAGE_STORES: image_stores must be dict"),
        ("STARLING_CONFIG", "/nowhere/starling.toml", "/nowhere/starling.toml cannot be read"),
    ],
)
def test_a_wrong_setting_is_refused_by_name(variable: str, value: str, says: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError) as refused:
        load_settings({"STARLING_STATE": str(tmp_path), variable: value})
    assert says in str(refused.value)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("prot = 1\n", "there is no setting 'prot'"),
        ("port = [\n", "is not valid TOML"),
        ("port = 0\n", "between"),
    ],
)
def test_a_wrong_file_is_refused_by_its_path(text: str, says: str, file: Path) -> None:
    file.write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings({"STARLING_CONFIG": str(file)})
    assert str(file) in str(refused.value)
    assert says in str(refused.value)


def test_passwords_are_never_shown() -> None:
    settings = Settings(
        amqp_url="amqp://user:hunter2@broker/",
        database_url="postgresql://starling@db/cloud?password=hunter2&sslmode=require",
        admin_password="hunter2",
        image_stores={"far": {"kind": "s3", "options": {"secret_access_key": "hunter2"}}},
    )
    assert "hunter2" not in repr(settings)
    assert "amqp://user:***@broker/" in repr(settings)
    assert "sslmode=require" in repr(settings)
