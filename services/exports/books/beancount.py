"""Books for Beancount 3: https://beancount.github.io/docs/beancount_language_syntax.html."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, timedelta

from services.exports.books.books import Title, Transaction, place_of


class Beancount:
    """Beancount's syntax.

    A part of an account's name begins with a capital there. Ids begin with a lower-case letter and hold letters, digits
    and hyphens, so a capital first letter loses nothing.
    """

    suffix = ".beancount"

    def opening(self, title: Title) -> str:
        return (
            f'option "title" {_quoted(f"Moiety: {title.display_name}")}\n'
            f'option "operating_currency" "{title.currency}"\n'
            f"; pools/{title.pool}, {title.log_size} leaves, root {title.log_root}\n"
        )

    def transaction(self, title: Title, found: Transaction) -> str:
        lines = [
            f'\n{found.day} * "{found.kind}" "leaf {found.leaf_index}"',
            f'  time: "{found.time.isoformat()}"',
            f"  leaf: {found.leaf_index}",
            f'  hash: "{found.leaf_hash}"',
        ]
        for posting in found.postings:
            lines.append(f"  {self.account(posting.place)}  {posting.amount} {title.currency}")
            if posting.purpose:
                lines.append(f'    purpose: "{posting.purpose}"')
        return "\n".join(lines) + "\n"

    def closing(self, title: Title, accounts: Mapping[str, int], first: date, last: date) -> str:
        # The order of directives in the file means nothing: Beancount sorts them by day, and opens accounts first.
        names = {account: self.account(place_of(account)) for account in sorted(accounts)}
        opened = [f"{first} open {name} {title.currency}" for name in names.values()]
        # A balance is that of the morning. Without a tolerance of its own it would let a minor unit pass.
        morning = last + timedelta(days=1)
        asserted = [
            f"{morning} balance {name}  {title.amount(accounts[account])} ~ 0 {title.currency}"
            for account, name in names.items()
        ]
        return "\n".join(["", *opened, "", *asserted, ""])

    @staticmethod
    def account(place: tuple[str, ...]) -> str:
        """The name of an account."""
        return ":".join(part[0].upper() + part[1:] for part in place)


def _quoted(text: str) -> str:
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
