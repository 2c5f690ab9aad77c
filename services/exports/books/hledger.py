"""Books for hledger 1.25 and later: https://hledger.org/hledger.html#journal."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date

from services.exports.books.books import Title, Transaction, place_of


class Hledger:
    """hledger's syntax, which takes ids as they are. Everything is declared, so that `hledger check --strict` holds."""

    suffix = ".journal"

    def opening(self, title: Title) -> str:
        # The display name is left out: a comment may not hold every text.
        return (
            f"; pools/{title.pool}, {title.log_size} leaves, root {title.log_root}\n"
            f"commodity 1000.{'0' * title.exponent} {title.currency}\n"
        )

    def transaction(self, title: Title, found: Transaction) -> str:
        lines = [
            f"\n{found.day} * ({found.leaf_index}) {found.kind}",
            f"    ; time:{found.time.isoformat()}, leaf:{found.leaf_index}, hash:{found.leaf_hash}",
        ]
        for posting in found.postings:
            tag = f"  ; purpose:{posting.purpose}" if posting.purpose else ""
            lines.append(f"    {self.account(posting.place)}  {posting.amount} {title.currency}{tag}")
        return "\n".join(lines) + "\n"

    def closing(self, title: Title, accounts: Mapping[str, int], first: date, last: date) -> str:  # noqa: ARG002 - Dialect
        names = {account: self.account(place_of(account)) for account in sorted(accounts)}
        declared = [f"account {name}" for name in names.values()]
        nothing = title.amount(0)
        asserted = [
            f"    {name}  {nothing} {title.currency} = {title.amount(accounts[account])} {title.currency}"
            for account, name in names.items()
        ]
        balances = [f"{last} * balances at {title.log_size} leaves", *asserted] if asserted else []
        return "\n".join(["", *declared, "", *balances, ""])

    @staticmethod
    def account(place: tuple[str, ...]) -> str:
        """The name of an account."""
        return ":".join(place)
