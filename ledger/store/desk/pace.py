"""How often somebody may do what others bear: so many times in a while, then it waits.

What is added to a log stays for ever, in every bundle, and what is told goes to many at once; a number of open things
bounds it only until they are over.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from math import ceil

from ledger.errors import QuotaError


@dataclass(frozen=True, slots=True)
class Pace:
    """At most `most` times within `within`; `limit` is its name in the error."""

    limit: str
    most: int
    within: timedelta

    def require(self, subject: str, before: datetime | None, now: datetime) -> None:
        """Check that it may be once more. `before` is when it was `most` times ago; None if it was not as often.

        Raises:
            QuotaError: it was too often; the error says how long until there is room again.
        """
        if before is not None and now < before + self.within:
            raise QuotaError(subject, self.limit, self.most, ceil((before + self.within - now).total_seconds()))
