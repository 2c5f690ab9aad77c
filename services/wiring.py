"""The one place where the parts are put together."""

from __future__ import annotations

from datetime import UTC, datetime

from ledger.errors import InvalidInputError
from ledger.store.database import Database
from ledger.store.usage.intake import UsageStore
from payout.schedule import Scheduler
from payout.settlement import Settlement
from services.access.keyring import KeyRing
from services.parts import Clock, Parts, SigningParts
from services.settings import Settings
from services.signing.folder import CheckpointFolder
from services.signing.key_file import read_key
from services.signing.signer import Signer
from services.signing.witness import Cosigner, Witness


def system_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def wire(settings: Settings, *, clock: Clock = system_clock) -> Parts:
    """The parts, on the database of the settings. Nothing is started, and nothing connects yet."""
    database = Database(settings.database_url, connections=settings.database_connections)
    settlement = Settlement(database, clock)
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        keyring=KeyRing(database),
        usage=UsageStore(database, clock),
        settlement=settlement,
        scheduler=Scheduler(database, settlement, clock),
    )


def wire_signing(parts: Parts) -> SigningParts | None:
    """The signing parts; None where the settings name no signing key.

    Raises:
        InvalidInputError: the key, the folder or the witnesses are not what they must be, or witnesses are set without
            a key whose checkpoints they could cosign.
    """
    settings = parts.settings
    if settings.signing_key_file is None or settings.checkpoint_folder is None:
        if settings.witnesses:
            raise InvalidInputError.of("MOIETY_WITNESSES", "cosign what signing_key_file signs, which is not set")
        return None
    key, folder = read_key(settings.signing_key_file), CheckpointFolder(settings.checkpoint_folder)
    witnesses = Witness.parse_all(settings.witnesses)
    signer = Signer(parts.database, parts.clock, key, folder)
    return SigningParts(signer, Cosigner(parts.database, signer, folder, witnesses))
