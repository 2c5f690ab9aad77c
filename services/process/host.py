"""Processes: what `moiety up`, `moiety serve` and `moiety schedule` run until they are stopped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import structlog

from ledger.errors import InvalidInputError
from ledger.log.key_changes import Reason
from ledger.log.note_keys import SigningKey
from ledger.store.desk.vault import add_key
from ledger.store.postgres.database import Database
from ledger.store.registry.people import read_people
from services.access.founding import found_with_new_keys, is_founded
from services.access.keys import Principal
from services.access.sessions import Sessions, operators_with_keys
from services.api.contract import Services
from services.parts import Clock, Parts, SigningParts
from services.process.listening import allow_open_files
from services.process.memory import keep_freed_memory
from services.process.server import Server
from services.process.timer import every
from services.schema import require_current, upgrade
from services.settings import Settings
from services.signing.folder import CheckpointFolder
from services.signing.key_changes import MadeChange, change_key
from services.signing.key_file import DEFAULT_ORIGIN, generate_key, read_key
from services.tracing.switch import tracing
from services.wiring import instead_of_the_databases, system_clock, wire, wire_signing

logger: Final = structlog.get_logger("moiety.host")

FIRST_OPERATOR: Final = "operators/first"
"""The founder of an embedded deployment if none is named."""


@dataclass(frozen=True, slots=True)
class Running:
    """A started process: where it listens, and the founders' keys if it founded the deployment."""

    address: str
    parts: Parts
    founders_keys: dict[str, str] = field(default_factory=dict)
    """By the operator's name."""
    verifier_key: str = ""
    """The deployment's public key, where this process signs."""
    http_address: str = ""
    """Where it listens for HTTP; empty where it does not."""
    mtls_address: str = ""
    """Where it listens for gRPC of clients with certificates; empty where it does not."""
    links: dict[str, str] = field(default_factory=dict)
    """Links that sign in to the console once, by the operator's id."""


@contextmanager
def serving(settings: Settings, *, clock: Clock = system_clock, is_founded: bool = True) -> Iterator[Running]:
    """The services on the settings' database, by gRPC and HTTP; drained at the end.

    A deployment that is not founded is refused, unless whoever starts them founds it next.
    """
    allow_open_files()
    with _parts(settings, clock, is_founded=is_founded) as parts, ExitStack() as stack:
        services = Services(parts)
        stack.callback(services.close)
        server = Server(parts, services)
        stack.callback(server.drain)
        address = server.start()
        http_address = ""
        if settings.http_listen:
            # Without the console and what signs in to it, a process takes 30 MB less.
            from services.process.http_server import HttpServer  # noqa: PLC0415

            http = HttpServer(parts, services)
            stack.callback(http.drain)
            http_address = http.start()
        stack.callback(services.begin_drain)
        logger.info("serving", address=address, http_address=http_address, mtls_address=server.mtls_address)
        try:
            yield Running(address, parts, http_address=http_address, mtls_address=server.mtls_address)
        finally:
            logger.info("draining", seconds=settings.drain_seconds)


@contextmanager
def scheduling(settings: Settings, *, clock: Clock = system_clock) -> Iterator[None]:
    """Scheduler and signer on the settings' database; work in progress is finished at the end."""
    with _parts(settings, clock) as parts, _scheduler(parts), _signer(parts), _mail(parts):
        yield


@contextmanager
def signing_parts(settings: Settings, *, clock: Clock = system_clock) -> Iterator[tuple[Database, SigningParts]]:
    """The signing parts on the settings' database, for an operator's own use; nothing is started.

    Raises:
        InvalidInputError: the settings name no signing key.
    """
    with _parts(settings, clock) as parts:
        signing = wire_signing(parts)
        if signing is None:
            raise InvalidInputError.of("MOIETY_SIGNING_KEY_FILE", "is not set")
        yield parts.database, signing


def change_signing_key(settings: Settings, reason: Reason, old: Path | None, new: Path) -> MadeChange:
    """Log that another key signs from now on; the old one is in a file, by default the settings'.

    Raises:
        InvalidInputError: the settings name no folder of checkpoints, or no key where the old one signs the change; or
            as `change_key` does.
        StateError: as `change_key` does.
    """
    if settings.checkpoint_folder is None:
        raise InvalidInputError.of("MOIETY_CHECKPOINT_FOLDER", "is not set")
    old_key = None
    if reason is Reason.ROTATED:
        file = old or settings.signing_key_file
        assert file is not None  # noqa: S101 - set together with the folder
        old_key = read_key(file)
    with _parts(settings, system_clock) as parts:
        folder = CheckpointFolder(settings.checkpoint_folder)
        return change_key(parts.database, folder, reason, old_key, read_key(new))


@contextmanager
def everything(
    settings: Settings,
    data_folder: Path,
    url: str,
    *,
    operators: Sequence[str] = (FIRST_OPERATOR,),
    clock: Clock = system_clock,
) -> Iterator[Running]:
    """Services, scheduler and signer in one process, with their keys and large bodies in `data_folder`.

    `url` is of a Postgres of their own (`embedded_postgres`), which they bring up to date. At its first start the
    operators found it.
    """
    with ExitStack() as stack:
        upgrade(url)
        keyed = _with_payee_key(_with_signing_key(settings, data_folder), data_folder)
        here = _with_bodies(keyed, data_folder).model_copy(update={"database_url": url, "workers": 1})
        running = stack.enter_context(serving(here, clock=clock, is_founded=False))
        founders_keys = _founded(here, operators, clock)  # last: of a start that fails nobody would be shown them
        stack.enter_context(_scheduler(running.parts))
        stack.enter_context(_signer(running.parts))
        stack.enter_context(_mail(running.parts))
        verifier_key = str(_signing_key(here).verifier_key)
        links = sign_in_links(running) if running.http_address else {}
        yield Running(
            running.address,
            running.parts,
            founders_keys,
            verifier_key,
            running.http_address,
            running.mtls_address,
            links,
        )


def browser_address(settings: Settings, http_address: str) -> str:
    """Returns the address at which a browser finds the console."""
    scheme = "https" if settings.tls_certificate_file else "http"
    return settings.public_url or f"{scheme}://{http_address}"


def sign_in_links(running: Running) -> dict[str, str]:
    """Make a new link for each operator of a deployment on this machine that was founded for trying.

    That is where one operator is all there is, or one command made the founders' keys: whoever started this process
    could act as any of them in any case.
    """
    parts = running.parts
    with parts.database.transaction() as connection:
        people = read_people(connection)
        keys = operators_with_keys(connection, parts.clock())
    founders = [name for name in people.founders if name in keys]
    if len(founders) > 1 and not people.keys_made_together:
        return {}
    sessions, address = Sessions(parts.database, parts.clock), browser_address(parts.settings, running.http_address)
    return {Principal.parse(name).id: f"{address}/sign-in/link/{sessions.make_link(keys[name])}" for name in founders}


@contextmanager
def _parts(settings: Settings, clock: Clock, *, is_founded: bool = True) -> Iterator[Parts]:
    if not settings.database_url:
        raise InvalidInputError.of("MOIETY_DATABASE_URL", "is not set; `moiety up` needs no database of yours")
    keep_freed_memory()
    with tracing(settings):
        parts = wire(settings, clock=clock)
        try:
            with parts.database.transaction() as connection:
                require_current(connection)
                if is_founded:
                    read_people(connection)
            yield parts
        finally:
            parts.close()


@contextmanager
def _scheduler(parts: Parts) -> Iterator[None]:
    seconds = parts.settings.schedule_poll_seconds
    looks = (parts.scheduler.run_once, parts.paying.run_once, parts.deliverer.run_once)
    with every(seconds, *looks):
        logger.info("scheduling", poll_seconds=seconds)
        try:
            yield
        finally:
            parts.deliverer.close()


@contextmanager
def _mail(parts: Parts) -> Iterator[None]:
    if not parts.settings.smtp_server:
        yield
        return
    # Templates and languages are loaded where mail is sent.
    from services.mail.herald import Herald  # noqa: PLC0415
    from services.mail.sender import Post  # noqa: PLC0415

    seconds = parts.settings.mail_poll_seconds
    with every(seconds, Herald(parts.database).run_once, Post(parts.settings, parts.database).run_once):
        logger.info("sending mail", poll_seconds=seconds)
        yield


@contextmanager
def _signer(parts: Parts) -> Iterator[None]:
    signing = wire_signing(parts)
    if signing is None:
        logger.warning("no checkpoints are signed: MOIETY_SIGNING_KEY_FILE is not set")
        yield
        return
    seconds = parts.settings.checkpoint_seconds
    with every(seconds, signing.signer.run_once, *signing.cosigner.looks()):
        logger.info("signing", every_seconds=seconds)
        try:
            yield
        finally:
            signing.cosigner.stop()


def _with_signing_key(settings: Settings, data_folder: Path) -> Settings:
    """Returns the settings with a signing key in the data folder, made at the first start, unless they name one."""
    if settings.signing_key_file is not None:
        return settings
    path = data_folder / "signing-key"
    if not path.exists():
        generate_key(path, DEFAULT_ORIGIN)
    return settings.model_copy(update={"signing_key_file": path, "checkpoint_folder": data_folder / "checkpoints"})


def _with_payee_key(settings: Settings, data_folder: Path) -> Settings:
    """Returns the settings with a key for payees in the data folder, made at the first start, unless they name one."""
    if settings.payee_key_file is not None:
        return settings
    path = data_folder / "payee-key"
    if not path.exists():
        add_key(path)
    return settings.model_copy(update={"payee_key_file": path})


def _with_bodies(settings: Settings, data_folder: Path) -> Settings:
    """Returns the settings with a folder for large bodies, in the data folder and open to nobody else, unless they name
    one.

    Raises:
        InvalidInputError: the folder cannot be made.
    """
    if settings.bodies_url:
        return settings
    path = (data_folder / "bodies").resolve()
    try:
        path.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise InvalidInputError.of("data", f"cannot be used: {error}") from None
    return settings.model_copy(update={"bodies_url": path.as_uri()})


def _signing_key(settings: Settings) -> SigningKey:
    assert settings.signing_key_file is not None  # noqa: S101  # `_with_signing_key` has set it
    return read_key(settings.signing_key_file)


def _founded(settings: Settings, operators: Sequence[str], clock: Clock) -> dict[str, str]:
    """Found the deployment, unless it was; returns the keys of the founders by their names."""
    origin = _signing_key(settings).name
    database = Database(settings.database_url, connections=2, clock=instead_of_the_databases(clock))
    try:
        with database.transaction() as connection:
            return {} if is_founded(connection) else found_with_new_keys(connection, origin, operators)
    finally:
        database.close()
