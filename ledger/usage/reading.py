"""How the bodies of a method's batches are read: as shares, or as scores that its rule makes into shares.

Intake and replay read all of a body. Retraction, and the finding of an event, read its columns and have the events that
they are about made into shares, by the same rules: each event's shares follow from that event alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from ledger.usage import scores, shares
from ledger.usage.batch import Batch, BoolArray
from ledger.usage.decoding import read_columns
from ledger.usage.membership import nearly_known
from ledger.usage.methods import ScoreRule

NEARLY_KNOWN_MAX: Final = 10
"""Sources of a batch that its receipt says are nearly known."""

LOOKED_AT_MAX: Final = 20_000
"""Sources of a batch whose other spellings are looked up."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a method's version and a membership's version say of a body.

    Without a `rule` it holds shares. With one it holds scores, of the sources of `membership`, whose version is
    `membership_version`; where that is None, the sources are collectives.
    """

    rule: ScoreRule | None = None
    membership: Mapping[str, str] | None = None
    membership_version: int | None = None

    def usage(
        self,
        body: bytes,
        registered: Callable[[tuple[str, ...]], BoolArray] | None = None,
        written: Batch | None = None,
        nearly: list[tuple[str, str]] | None = None,
    ) -> Batch:
        """The batch in a body with its shares.

        Args:
            body: the bytes, whoever made them.
            registered: which of some names are collectives that may be paid; asked of a new batch whose sources are
                collectives, for one with a wrong name would lose its score unseen. That those with shares are
                registered is left to the caller.
            written: as for `parse_batch`.
            nearly: gets the first sources that events name and the membership has in another spelling, with that one.

        Raises:
            InvalidInputError: the batch is refused; the error holds the first 100 positions and reasons.
        """
        if self.rule is None:
            return shares.parse_batch(body, written)
        scored = scores.parse_score_batch(body)
        if registered and self.membership is None:
            scores.require_known_sources(scored, registered(scored.names))
        if nearly is not None and self.membership is not None:
            named = (scored.names[place] for place in np.unique(scored.name_index)[:LOOKED_AT_MAX].tolist())
            nearly += islice(nearly_known(named, self.membership), NEARLY_KNOWN_MAX)
        return scores.shares_of(scored, self.rule, self.membership)

    def columns(self, body: bytes) -> Batch:
        """The columns of a batch that is in the log, with shares or scores; `usage_in` checks its events.

        Raises:
            InvalidInputError: the bytes are not such a batch.
        """
        return read_columns(body, shares.SHARES if self.rule is None else scores.SCORES)

    def usage_in(self, columns: Batch, chosen: BoolArray) -> Batch:
        """Some events, (n,), of such columns, with their shares. Raises as `usage` does."""
        part = columns.only(chosen).only_named()  # of many sources, an event has a few
        if self.rule is None:
            return shares.checked(part)
        return scores.shares_of(scores.checked(part), self.rule, self.membership)
