"""How the bodies of a method's batches are read: as shares, or as scores that its rule makes into shares.

Intake, retraction, the finding of an event and replay all read a body by this one function.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Final

import numpy as np

from ledger.usage.batch import Batch, BoolArray
from ledger.usage.membership import nearly_known
from ledger.usage.methods import ScoreRule
from ledger.usage.scores import parse_score_batch, require_known_sources, shares_of
from ledger.usage.shares import parse_batch

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
            return parse_batch(body, written)
        scores = parse_score_batch(body)
        if registered and self.membership is None:
            require_known_sources(scores, registered(scores.names))
        if nearly is not None and self.membership is not None:
            named = (scores.names[place] for place in np.unique(scores.name_index)[:LOOKED_AT_MAX].tolist())
            nearly += islice(nearly_known(named, self.membership), NEARLY_KNOWN_MAX)
        return shares_of(scores, self.rule, self.membership)
