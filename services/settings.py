"""Settings from the environment, typed: `MOIETY_LISTEN` sets `listen`, and so on."""

from __future__ import annotations

import ipaddress
import re
from pathlib import Path
from typing import Final, Literal

from psycopg import ProgrammingError
from psycopg.conninfo import conninfo_to_dict
from pydantic import Field, ValidationError, field_validator, model_validator
from pydantic_settings import BaseSettings, SettingsConfigDict
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

from ledger.acts.contacts import Contact
from ledger.errors import InvalidInputError, Violation
from ledger.store.postgres.connections import as_driver_url

PREFIX: Final = "MOIETY_"
_PUBLIC_URL: Final = re.compile(r"https?://[A-Za-z0-9.\-:\[\]]{1,255}")
_OPENID_ISSUER: Final = re.compile(
    r"(https://[A-Za-z0-9.\-:]{1,150}|http://(localhost|127\.0\.0\.1)(:[0-9]{1,5})?)(/[A-Za-z0-9.\-_~/]{0,98}[A-Za-z0-9.\-_~])?"
)
"""Plain http is for trying: what a provider on this machine says passes over no network."""
MAX_PORT: Final = 65_535

_FILES: Final = (
    "openid_client_secret_file",
    "tls_certificate_file",
    "tls_key_file",
    "tls_client_ca_file",
    "signing_key_file",
    "checkpoint_folder",
    "payee_key_file",
    "smtp_password_file",
    "smtp_ca_file",
)
"""The settings that are paths; an empty variable is one that is not set, as in files for Compose."""


class Settings(BaseSettings):
    """What a deployment can configure. docs/operations.md says when to."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="ignore")

    database_url: str = ""
    """The service's database, Postgres 16 or later; its user must be a member of the role `moiety_app`, or it."""

    read_database_url: str = ""
    """A standby of it, which lists, statements, exports and audits are read from where it has caught up."""

    database_owner_url: str = ""
    """The same database as the schema's owner, for migrations; `database_url` if empty."""

    database_app_password: str = ""
    """If set, migrations let the role `moiety_app` log in with it."""

    database_connections: int = Field(default=16, ge=2, le=1000)
    """The most connections that one process opens."""

    database_pooler: bool = False
    """Whether a pooler such as PgBouncer lies between; `database_url` then logs in as `moiety_app` itself."""

    bodies_url: str = ""
    """Where bodies of 64 KiB and more go: `file:///folder` or `s3://bucket/prefix`; empty for Postgres."""

    listen: str = "127.0.0.1:50051"
    """The address and port of the gRPC service; port 0 takes a free one."""

    http_listen: str = "127.0.0.1:8080"
    """The address and port of HTTP: the API, health, metrics; port 0 takes a free one, and empty is none."""

    http_origins: str = ""
    """Origins whose pages may call the API over HTTP (CORS), with commas between; empty for none."""

    public_url: str = ""
    """How browsers reach HTTP where that is by a proxy, such as `https://moiety.example`; without a path."""

    openid_issuer: str = ""
    """The OpenID provider at which people sign in, such as `https://accounts.example`; empty for none."""

    openid_client_id: str = ""
    """What the provider knows this console by; it must lead back to `/sign-in/openid/return` at `public_url`."""

    openid_client_secret_file: Path | None = None
    """The file that has the client's secret; none for a public client."""

    metrics_token: str = ""
    """What Prometheus sends as a bearer token to read /metrics; where it is empty only a loopback address has them."""

    tls_certificate_file: Path | None = None
    """The server's certificate chain in PEM; required where an address to listen on is not a loopback one."""

    tls_key_file: Path | None = None
    """The certificate's key in PEM."""

    tls_client_ca_file: Path | None = None
    """Who issues client certificates, in PEM: HTTP then takes one in place of a key. Empty for none."""

    mtls_listen: str = ""
    """A second address and port of gRPC, where every client shows a certificate; empty for none."""

    workers: int = Field(default=1, ge=1, le=64)
    """Processes in which `moiety serve` listens on one port. Each has its own connections, threads and batches."""

    threads: int = Field(default=32, ge=4, le=1000)
    """Calls that one process handles at a time. An open stream is one; `services.api.calls.streams` bounds these."""

    intake_threads: int = Field(default=4, ge=1, le=64)
    """Usage batches that one process handles at a time."""

    drain_seconds: float = Field(default=20.0, ge=0, le=600)
    """How long calls in progress may continue after SIGTERM."""

    schedule_poll_seconds: float = Field(default=1.0, ge=0.05, le=3600)
    """How often schedules are checked."""

    signing_key_file: Path | None = None
    """The key that signs checkpoints, from `moiety log key`; its name is the deployment's origin."""

    checkpoint_folder: Path | None = None
    """Where the last checkpoint of each pool is kept outside the database; shared by all signers."""

    checkpoint_seconds: float = Field(default=5.0, ge=0.05, le=3600)
    """How often logs that have grown are signed, and witnesses asked."""

    payee_key_file: Path | None = None
    """The keys that encrypt payees' bank data, from `moiety key payees`; every server has the same."""

    webhook_networks: str = ""
    """Networks that webhooks may lead to besides public addresses, such as `10.1.0.0/16, fd00:1::/64`."""

    webhook_http: bool = False
    """Whether webhooks may lead to plain http addresses."""

    smtp_server: str = ""
    """The mail server by its host and port, such as `mail.example:587`; empty sends no mail."""

    smtp_security: Literal["starttls", "tls", "none"] = "starttls"
    """How the connection to it is encrypted; `none` is for one on this machine."""

    smtp_user: str = ""
    """Who signs in to it; empty does not sign in."""

    smtp_password_file: Path | None = None
    """The file that has the password."""

    smtp_ca_file: Path | None = None
    """The authorities that its certificate may be from, in PEM; the system's if none."""

    mail_from: str = ""
    """The address that mail is from, such as `moiety@moiety.example`."""

    mail_poll_seconds: float = Field(default=5.0, ge=0.05, le=3600)
    """How often logs are read for what people must be told, and mail is sent."""

    witnesses: str = ""
    """Who cosigns checkpoints: `URL VKEY`, separated by commas."""

    tracing: bool = False
    """Whether calls are traced by OpenTelemetry, whose own OTEL_ variables say where the traces go."""

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """The least severe line that is logged."""

    log_format: Literal["json", "text"] = "json"
    """One JSON object per line, or lines for people."""

    @field_validator("database_url", "read_database_url", "database_owner_url")
    @classmethod
    def _names_a_postgres(cls, url: str) -> str:
        try:
            parsed = make_url(as_driver_url(url or "postgresql://"))
            conninfo_to_dict(" ".join(f"{name}=''" for name in parsed.query))
            sound = parsed.drivername == "postgresql+psycopg"
        except (ArgumentError, ValueError, ProgrammingError):
            sound = False
        if not sound:  # and it is not quoted: it may contain a password
            example = "postgresql://user:password@host:5432/database"
            raise ValueError(f"must be a URL such as {example}, with no options but those that Postgres has")
        return url

    @field_validator(*_FILES, mode="before")
    @classmethod
    def _names_a_file(cls, path: object) -> object:
        return path or None  # an empty path would be the folder that the process happens to be started in

    @field_validator("webhook_networks")
    @classmethod
    def _names_networks(cls, text: str) -> str:
        try:
            parse_networks(text)
        except ValueError:
            raise ValueError("must be networks such as 10.1.0.0/16, with commas between") from None
        return text

    @model_validator(mode="after")
    def _certificates_together(self) -> Settings:
        if (self.tls_certificate_file is None) != (self.tls_key_file is None):
            raise ValueError("tls_key_file: must be set together with MOIETY_TLS_CERTIFICATE_FILE")
        if self.tls_client_ca_file is not None and self.tls_certificate_file is None:
            raise ValueError("tls_client_ca_file: needs MOIETY_TLS_CERTIFICATE_FILE")
        if self.mtls_listen and self.tls_client_ca_file is None:
            raise ValueError("mtls_listen: needs MOIETY_TLS_CLIENT_CA_FILE")
        return self

    @model_validator(mode="after")
    def _sound_together(self) -> Settings:
        for name, address, example in (
            ("listen", self.listen, 50051),
            ("http_listen", self.http_listen, 8080),
            ("mtls_listen", self.mtls_listen, 50052),
        ):
            host, _, port = address.rpartition(":")
            if address == "" and name != "listen":
                continue
            if not host or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
                raise ValueError(f"{name}: must be an address and a port, such as 127.0.0.1:{example}")
        if self.public_url and not _PUBLIC_URL.fullmatch(self.public_url):
            raise ValueError("public_url: must be http:// or https:// and a host, without a path")
        self._require_mail()
        if bool(self.openid_issuer) != bool(self.openid_client_id):
            raise ValueError("openid_client_id: must be set together with MOIETY_OPENID_ISSUER")
        if self.openid_issuer and not _OPENID_ISSUER.fullmatch(self.openid_issuer):
            raise ValueError("openid_issuer: must be an https address, without a query or a slash at its end")
        if (self.signing_key_file is None) != (self.checkpoint_folder is None):
            raise ValueError("checkpoint_folder: must be set together with MOIETY_SIGNING_KEY_FILE")
        for address in filter(None, (self.listen, self.http_listen)):
            host = address.rpartition(":")[0]
            if self.tls_certificate_file is None and not is_loopback(host):
                raise ValueError(
                    f"tls_certificate_file: is required to listen on {host}, which is not a loopback address"
                )
        return self

    def _require_mail(self) -> None:
        """Check what mail needs together.

        Raises:
            ValueError: something is missing or not sound.
        """
        if not self.smtp_server:
            return
        host, _, port = self.smtp_server.rpartition(":")
        if not host or not (port.isascii() and port.isdigit()) or int(port) > MAX_PORT:
            raise ValueError("smtp_server: must be a host and a port, such as mail.example:587")
        if self.smtp_security == "none" and not is_loopback(host):
            raise ValueError(f"smtp_security: must be starttls or tls for {host}, which is not a loopback address")
        if bool(self.smtp_user) != bool(self.smtp_password_file):
            raise ValueError("smtp_password_file: must be set together with MOIETY_SMTP_USER")
        try:
            sound = bool(self.mail_from) and bool(Contact(self.mail_from))
        except InvalidInputError:
            sound = False
        if not sound:
            raise ValueError("mail_from: must be an address such as moiety@moiety.example")

    @property
    def owner_url(self) -> str:
        """Where migrations go."""
        return self.database_owner_url or self.database_url


def parse_networks(text: str) -> tuple[ipaddress.IPv4Network | ipaddress.IPv6Network, ...]:
    """Returns the networks of a list with commas.

    Raises:
        ValueError: one is none.
    """
    return tuple(ipaddress.ip_network(each.strip()) for each in text.split(",") if each.strip())


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach the address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host == "localhost"


def load_settings(**overrides: object) -> Settings:
    """Returns the settings of this process.

    Raises:
        InvalidInputError: variables are wrong; the error names each, and why.
    """
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # checked by pydantic, which is the point
    except ValidationError as error:
        raise InvalidInputError([_violation(dict(found)) for found in error.errors()]) from None


def _violation(found: dict[str, object]) -> Violation:
    location, message = found["loc"], str(found["msg"]).removeprefix("Value error, ")
    if isinstance(location, tuple) and location:
        return Violation(f"{PREFIX}{location[0]}".upper(), message)
    name, _, reason = message.partition(": ")
    return Violation(f"{PREFIX}{name}".upper(), reason)
