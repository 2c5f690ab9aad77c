"""The parts of the services. `wiring` puts them together; handlers and processes receive them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from ledger.store.desk.vault import Vault
from ledger.store.logs.bodies import Bodies
from ledger.store.pools.readers import Readers
from ledger.store.postgres.database import Database
from ledger.store.postgres.gates import Gate
from ledger.store.registry.acts import Acts
from ledger.store.usage.intake import UsageStore
from payout.banking import Banking
from payout.paying import Paying
from payout.schedule import Scheduler
from payout.settlement import Settlement
from services.access.keyring import KeyRing
from services.settings import Settings
from services.signing.signer import Signer
from services.signing.witness import Cosigner
from services.webhooks.delivery import Deliverer

Clock = Callable[[], datetime]
"""Returns the time, in UTC."""


@dataclass(frozen=True, slots=True)
class Parts:
    """The parts of a deployment, on one database.

    Attributes:
        heavy: what calls pass before they read something whole, such as a batch or the tables of a round.
    """

    settings: Settings
    clock: Clock
    database: Database
    readers: Readers
    bodies: Bodies
    heavy: Gate
    vault: Vault
    keyring: KeyRing
    acts: Acts
    usage: UsageStore
    settlement: Settlement
    paying: Paying
    banking: Banking
    scheduler: Scheduler
    deliverer: Deliverer

    def close(self) -> None:
        """Close the connections to the databases."""
        self.database.close()
        self.readers.close()


@dataclass(frozen=True, slots=True)
class SigningParts:
    """The parts that sign checkpoints and have them cosigned."""

    signer: Signer
    cosigner: Cosigner
