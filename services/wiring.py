"""The one place where the parts are put together."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import Final

from ledger.errors import InvalidInputError
from ledger.store.desk.contacts import PUT_CONTACT
from ledger.store.desk.vault import Vault, read_vault
from ledger.store.desk.webhooks import PUT_WEBHOOK
from ledger.store.logs.objects import open_bodies
from ledger.store.money.income import MATCH_RECEIPT, RECORD_RECEIPT
from ledger.store.money.movements import GRANT_FROM_COMMONS, RECORD_PAYMENT, RELEASE_HELD
from ledger.store.pools.admissions import ADMIT_PLATFORM
from ledger.store.pools.memberships import DECLARE_MEMBERSHIP
from ledger.store.pools.methods import DECLARE_METHOD
from ledger.store.pools.readers import Readers
from ledger.store.postgres.database import Database
from ledger.store.postgres.gates import Gate
from ledger.store.registry.acts import Acts
from ledger.store.registry.collectives import PUT_COLLECTIVE
from ledger.store.registry.platforms import REGISTER_PLATFORM
from ledger.store.registry.principals import PUT_PRINCIPAL, SET_CONTROLS, SET_WITNESSES
from ledger.store.usage.closing import CLOSE_POOL
from ledger.store.usage.intake import UsageStore
from payout.banking import Banking
from payout.paying import Paying
from payout.schedule import Scheduler
from payout.settlement import Settlement
from payout.store.adjustments import ADJUST
from payout.store.bank_accounts import PUT_BANK_ACCOUNT
from payout.store.bank_files import TAKE_IN_BANK_FILE
from payout.store.bank_lines import MATCH_LINE
from payout.store.books import WAIVE_REPORT
from payout.store.pay_runs import RECORD_PAY_RUN
from payout.store.payees import PUT_PAYEE
from payout.store.policies import LOG_POLICY, OPEN_POOL
from payout.store.reversals import REVERSE
from payout.store.schedules import PAUSE, SET_SCHEDULE
from payout.store.tariffs import SET_TARIFF
from payout.store.windows import timed_rounds
from services.access.keyring import KeyRing
from services.access.keys import ISSUE_KEY, REVOKE_KEY
from services.metrics import count_head_wait
from services.parts import Clock, Parts, SigningParts
from services.settings import Settings
from services.signing.folder import CheckpointFolder
from services.signing.key_file import read_key
from services.signing.signer import Signer
from services.signing.witness import Cosigner, Witness
from services.tracing.switch import observer
from services.webhooks.addresses import Reach
from services.webhooks.delivery import Deliverer
from services.webhooks.posting import Poster

EFFECTS: Final = (
    REGISTER_PLATFORM, PUT_COLLECTIVE, PUT_PRINCIPAL, SET_CONTROLS, SET_WITNESSES, ISSUE_KEY, REVOKE_KEY, OPEN_POOL,
    LOG_POLICY, SET_SCHEDULE, PAUSE, ADMIT_PLATFORM, CLOSE_POOL, DECLARE_METHOD, DECLARE_MEMBERSHIP, RECORD_PAYMENT,
    RELEASE_HELD, GRANT_FROM_COMMONS, RECORD_RECEIPT, MATCH_RECEIPT, REVERSE, WAIVE_REPORT, SET_TARIFF,
    PUT_PAYEE, PUT_CONTACT, PUT_BANK_ACCOUNT, RECORD_PAY_RUN, ADJUST, TAKE_IN_BANK_FILE, MATCH_LINE, PUT_WEBHOOK,
)  # fmt: skip
"""Everything that operators do."""


def system_clock() -> datetime:
    """Now, in UTC."""
    return datetime.now(UTC)


def instead_of_the_databases(clock: Clock) -> Clock | None:
    """Returns the clock that times a deployment's leaves; None for the database's own, unless another was given."""
    return None if clock is system_clock else clock


def wire(settings: Settings, *, clock: Clock = system_clock) -> Parts:
    """Returns the parts, on the database of the settings. Nothing is started, and nothing connects yet."""
    pooled = partial(
        Database, connections=settings.database_connections, pooler=settings.database_pooler, observer=observer()
    )
    database = pooled(settings.database_url, clock=instead_of_the_databases(clock), waited=count_head_wait)
    standby = pooled(settings.read_database_url) if settings.read_database_url else None
    bodies = open_bodies(settings.bodies_url)
    heavy = Gate.for_heavy_calls()
    settlement = Settlement(database, bodies)
    vault = read_vault(settings.payee_key_file) if settings.payee_key_file else Vault()
    readers = Readers(database, standby)
    return Parts(
        settings=settings,
        clock=clock,
        database=database,
        readers=readers,
        bodies=bodies,
        heavy=heavy,
        vault=vault,
        keyring=KeyRing(database, clock),
        acts=Acts(EFFECTS),
        usage=UsageStore(database, clock, bodies, heavy),
        settlement=settlement,
        paying=Paying(database, vault),
        banking=Banking(vault),
        scheduler=Scheduler(database, settlement),
        deliverer=Deliverer(database, readers, vault, Poster(Reach.of(settings)), clock),
    )


def wire_signing(parts: Parts) -> SigningParts | None:
    """The signing parts; None if the settings name no signing key.

    Raises:
        InvalidInputError: the key, the folder or the witnesses are not valid, or witnesses are set without a key whose
            checkpoints they could cosign.
    """
    settings = parts.settings
    if settings.signing_key_file is None or settings.checkpoint_folder is None:
        if settings.witnesses:
            raise InvalidInputError.of("MOIETY_WITNESSES", "need signing_key_file, which is not set")
        return None
    key, folder = read_key(settings.signing_key_file), CheckpointFolder(settings.checkpoint_folder)
    witnesses = Witness.parse_all(settings.witnesses)
    signer = Signer(parts.database, parts.clock, key, folder)
    return SigningParts(signer, Cosigner(parts.database, signer, folder, witnesses, timed_rounds))
