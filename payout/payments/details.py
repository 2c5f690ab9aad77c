"""Bank accounts of payees and of operators: their parts, their checks, and the salted hash that a log has of them."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from hashlib import sha256
from typing import Any, Final

from ledger.errors import InvalidInputError, LedgerCorruptError
from ledger.log.canonical import canonical
from ledger.money import MAX_AMOUNT_MINOR, minor_unit_exponent
from ledger.registry import require_range, require_text

MAX_HOLDER: Final = 70
"""As in SEPA; a longer name would reach the bank cut off."""

MAX_ACCOUNT: Final = 34
"""ISO 20022's Max34Text, for accounts that are no IBAN."""

_ADDRESS: Final = {"street": 70, "building": 16, "postcode": 16, "town": 35}
"""The parts of an address and their greatest lengths, as ISO 20022 has them."""

_COUNTRY_LETTERS: Final = 2


@dataclass(frozen=True, slots=True)
class AccountDetails:
    """A bank account.

    Attributes:
        holder: whose it is, as the bank knows it; 1 to 70 characters.
        town: of the holder; required, as is the country (ISO 3166, two letters), because banks refuse payments
            without them.
        iban: in electronic form; empty if the account has another number.
        account: the account's number where there is no IBAN, at most 34 characters.
        bic: of the bank; required where there is no IBAN.
        currency: ISO 4217.
        smallest_minor: the smallest amount that is paid to it, in minor units; less stays owed. 1 for every amount.
    """

    holder: str
    town: str
    country: str
    currency: str
    street: str = ""
    building: str = ""
    postcode: str = ""
    iban: str = ""
    account: str = ""
    bic: str = ""
    smallest_minor: int = 1

    def __post_init__(self) -> None:
        """Check every part.

        Raises:
            InvalidInputError: a part is missing, too long, or not what it should be; it never quotes an account number.
        """
        require_text(self.holder, "details.holder", least=1, most=MAX_HOLDER)
        for part, most in _ADDRESS.items():
            require_text(getattr(self, part), f"details.{part}", least=int(part == "town"), most=most)
        if len(self.country) != _COUNTRY_LETTERS or not (self.country.isascii() and self.country.isupper()):
            raise InvalidInputError.of("details.country", "must be a country's two letters, such as DE")
        minor_unit_exponent(self.currency, "details.currency")
        require_range(self.smallest_minor, "details.smallest_minor", 1, MAX_AMOUNT_MINOR)
        self._require_account()

    def _require_account(self) -> None:
        if bool(self.iban) == bool(self.account):
            raise InvalidInputError.of("details.iban", "either an IBAN or another account number is required")
        require_text(self.account, "details.account", most=MAX_ACCOUNT)
        if self.account and not self.bic:
            raise InvalidInputError.of("details.bic", "is required where there is no IBAN")
        # Its list of the world's banks takes half a second to load.
        from schwifty import BIC, IBAN  # noqa: PLC0415
        from schwifty.exceptions import SchwiftyException  # noqa: PLC0415

        try:
            if self.iban and str(IBAN(self.iban)) != self.iban:
                raise InvalidInputError.of("details.iban", "must be without spaces, in capital letters")
        except SchwiftyException:
            raise InvalidInputError.of(
                "details.iban", "is not an IBAN: its length, form or check digits are wrong"
            ) from None
        try:
            if self.bic and str(BIC(self.bic)) != self.bic:
                raise InvalidInputError.of("details.bic", "must be without spaces, in capital letters")
        except SchwiftyException:
            raise InvalidInputError.of("details.bic", "is not a BIC: its length, form or country is wrong") from None

    @property
    def number(self) -> str:
        """The IBAN, or the other number."""
        return self.iban or self.account

    def masked(self) -> str:
        """The number with its middle hidden, for people who only need to recognise it."""
        shown = 4
        return f"{self.number[:shown]}…{self.number[-shown:]}" if len(self.number) > 2 * shown else "…"


@dataclass(frozen=True, slots=True)
class SaltedDetails:
    """Details with the salt of their hash: what lies encrypted at the desk."""

    salt: bytes
    details: AccountDetails

    def hash(self) -> bytes:
        """The hash that a log has: SHA-256 of the salt and the details in canonical JSON."""
        return sha256(self.salt + canonical(asdict(self.details))).digest()

    def to_bytes(self) -> bytes:
        """What is encrypted."""
        document = {"salt": self.salt.hex(), "details": asdict(self.details)}
        return json.dumps(document, sort_keys=True).encode()

    @classmethod
    def from_bytes(cls, document: bytes) -> SaltedDetails:
        """Returns what `to_bytes` made these bytes of.

        Raises:
            LedgerCorruptError: they are not from there.
        """
        try:
            found: dict[str, Any] = json.loads(document)
            return cls(bytes.fromhex(found["salt"]), AccountDetails(**found["details"]))
        except (ValueError, KeyError, TypeError, InvalidInputError):
            raise LedgerCorruptError("details of an account", "are not what was put there") from None
