"""Settings by example: from the environment, typed, and refused by the variable's name."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

import pytest

from ledger.errors import InvalidInputError
from services.settings import Settings, is_loopback, load_settings

SECRET: Final = "postgresql://app:hunter2@db/moiety"


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever runs the tests may have settings of its own."""
    for name in os.environ:
        if name.upper().startswith("MOIETY_"):
            monkeypatch.delenv(name)


def violations(**overrides: object) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInputError) as refused:
        load_settings(**overrides)
    return [(violation.field, violation.reason) for violation in refused.value.violations]


def test_defaults_listen_to_this_machine_alone() -> None:
    settings = load_settings()
    assert settings.listen == "127.0.0.1:50051"
    assert settings.database_url == ""
    assert settings.tls_certificate_file is None
    assert settings.log_format == "json"


def test_the_environment_sets_what_is_typed(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "MOIETY_DATABASE_URL": SECRET, "MOIETY_DATABASE_CONNECTIONS": "20", "MOIETY_LISTEN": "[::1]:0",
        "MOIETY_DRAIN_SECONDS": "2.5", "MOIETY_LOG_LEVEL": "DEBUG", "MOIETY_TLS_KEY_FILE": "/key.pem",
        "MOIETY_TLS_CERTIFICATE_FILE": "/chain.pem", "MOIETY_NO_SUCH_SETTING": "x",
    }.items():  # fmt: skip
        monkeypatch.setenv(name, value)
    settings = load_settings()
    assert (settings.database_url, settings.database_connections, settings.listen) == (SECRET, 20, "[::1]:0")
    assert (settings.drain_seconds, settings.log_level) == (2.5, "DEBUG")
    assert (settings.tls_certificate_file, settings.tls_key_file) == (Path("/chain.pem"), Path("/key.pem"))


@pytest.mark.parametrize(
    "url", ["hunter2", "postgresql://app:hunter2@db:x/moiety", "sqlite:///hunter2", "mysql://hunter2@db/m"]
)
@pytest.mark.parametrize("name", ["database_url", "database_owner_url"])
def test_what_is_no_url_of_a_postgres_is_refused_and_not_repeated(name: str, url: str) -> None:
    ((field, reason),) = violations(**{name: url})
    assert field == f"MOIETY_{name}".upper()
    assert "postgresql://" in reason
    assert "hunter2" not in reason


def test_what_is_given_goes_before_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_THREADS", "8")
    assert load_settings().threads == 8
    assert load_settings(threads=9).threads == 9


@pytest.mark.parametrize(
    ("name", "least", "most"),
    [
        ("database_connections", 2, 1000),
        ("threads", 4, 1000),
        ("intake_threads", 1, 64),
        ("drain_seconds", 0, 600),
        ("schedule_poll_seconds", 0.05, 3600),
        ("checkpoint_seconds", 0.05, 3600),
    ],
)
def test_a_number_past_its_bounds_is_refused_by_its_variable(name: str, least: float, most: float) -> None:
    for value in (least, most):
        assert getattr(load_settings(**{name: value}), name) == value
    for wrong in (least - 1, most + 1, "many", "", "nan"):
        assert [field for field, _ in violations(**{name: wrong})] == [f"MOIETY_{name.upper()}"]


def test_every_variable_that_is_wrong_is_named_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_THREADS", "3")
    monkeypatch.setenv("MOIETY_LOG_FORMAT", "xml")
    found = dict(violations())
    assert set(found) == {"MOIETY_THREADS", "MOIETY_LOG_FORMAT"}
    assert found["MOIETY_THREADS"] == "Input should be greater than or equal to 4"
    assert found["MOIETY_LOG_FORMAT"] == "Input should be 'json' or 'text'"


@pytest.mark.parametrize(
    "listen",
    ["", "127.0.0.1", ":50051", "127.0.0.1:", "127.0.0.1:x", "127.0.0.1:-1", "127.0.0.1:65536", "127.0.0.1:1.5",
     "127.0.0.1:²", "127.0.0.1:\uff15\uff10", "127.0.0.1: 5"],
)  # fmt: skip
def test_what_is_no_address_and_port_is_refused(listen: str) -> None:
    assert violations(listen=listen) == [("MOIETY_LISTEN", "must be an address and a port, such as 127.0.0.1:50051")]


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "127.0.0.53:65535", "[::1]:50051", "localhost:1"])
def test_a_loopback_address_needs_no_tls(listen: str) -> None:
    assert load_settings(listen=listen).listen == listen


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "[::]", "10.0.0.1", "192.168.1.1", "example.org", "localhost.example.org", "unix:/socket", "*"]
)
def test_any_other_address_needs_tls(host: str) -> None:
    ((field, reason),) = violations(listen=f"{host}:50051")
    assert field == "MOIETY_TLS_CERTIFICATE_FILE"
    assert reason == f"is required to listen on {host}, which is not a loopback address"
    settings = load_settings(listen=f"{host}:50051", tls_certificate_file="c.pem", tls_key_file="k.pem")
    assert settings.listen == f"{host}:50051"


def test_certificate_and_key_go_together() -> None:
    for one in ("tls_certificate_file", "tls_key_file"):
        expected = [("MOIETY_TLS_KEY_FILE", "must be set together with MOIETY_TLS_CERTIFICATE_FILE")]
        assert violations(**{one: "x.pem"}) == expected


def test_a_signing_key_goes_with_its_folder() -> None:
    for one in ("signing_key_file", "checkpoint_folder"):
        expected = [("MOIETY_CHECKPOINT_FOLDER", "must be set together with MOIETY_SIGNING_KEY_FILE")]
        assert violations(**{one: "x"}) == expected
    settings = load_settings(signing_key_file="key", checkpoint_folder="folder")
    assert (settings.signing_key_file, settings.checkpoint_folder) == (Path("key"), Path("folder"))


def test_an_empty_path_is_none_and_not_the_folder_of_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    paths = [name for name, field in Settings.model_fields.items() if field.annotation == Path | None]
    assert len(paths) == 9
    for name in paths:
        monkeypatch.setenv(f"MOIETY_{name.upper()}", "")
    settings = load_settings()
    assert [getattr(settings, name) for name in paths] == [None] * len(paths)
    monkeypatch.setenv("MOIETY_SIGNING_KEY_FILE", "key")
    assert violations() == [("MOIETY_CHECKPOINT_FOLDER", "must be set together with MOIETY_SIGNING_KEY_FILE")]


def test_only_this_machine_is_loopback() -> None:
    assert [is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "[::1]", "localhost")] == [True] * 5
    assert [is_loopback(host) for host in ("0.0.0.0", "::", "128.0.0.1", "", "my-localhost")] == [False] * 5


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().listen = "0.0.0.0:1"  # type: ignore[misc]  # which is what is tested


def test_migrations_go_to_the_owner_if_there_is_one() -> None:
    service, owner = "postgresql://a/moiety", "postgresql://b/moiety"
    assert Settings(database_url=service).owner_url == service
    assert Settings(database_url=service, database_owner_url=owner).owner_url == owner


def test_a_refusal_quotes_no_secret(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MOIETY_DATABASE_URL", SECRET)
    monkeypatch.setenv("MOIETY_DATABASE_APP_PASSWORD", "hunter2")
    monkeypatch.setenv("MOIETY_THREADS", "hunter2")
    with pytest.raises(InvalidInputError) as refused:
        load_settings(listen="nowhere")
    assert "hunter2" not in str(refused.value)
    assert refused.value.__suppress_context__
