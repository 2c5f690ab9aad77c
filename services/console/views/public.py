"""What everyone may see of a pool, without signing in, where its policy says so: sums, and never whose they are."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from starlette.responses import Response

from ledger.errors import NotFoundError
from ledger.journal import COMMONS
from ledger.registry import is_resource_id
from ledger.store.logs import checkpoints
from ledger.store.money import journal
from ledger.store.pools.pools import get_pool
from payout.store.policies import latest_policy
from payout.store.rounds import AFTER_ALL, RoundState, list_rounds, paid_at_least
from services.api import convert
from services.console.visit import PageMissingError, Visit

ROUNDS: Final = 12
"""The last rounds that are shown: a year of months."""

FEWEST: Final = 3
"""Where a round paid fewer collectives its sums are not shown: they would say what one got, or tell each of two of the
other. Nor is the commons fund then, which grows by a known share of them."""

KEPT_SECONDS: Final = 60
"""How long a proxy or a browser may show a page again."""

_LOOKED_AT: Final = 4 * ROUNDS
"""Rounds of which the last posted ones are shown: some may be rejected."""


def show(visit: Visit) -> Response:
    """The public page of a pool: its terms, the sums of its last rounds, its commons fund and its checkpoint.

    Nothing in it depends on who asks but the language, so that whatever lies between may keep it.
    """
    if not is_resource_id(visit.ids["pool"]):
        raise PageMissingError
    with visit.parts.database.transaction() as connection:
        try:
            pool = get_pool(connection, visit.ids["pool"])
        except NotFoundError:
            raise PageMissingError from None
        terms = latest_policy(connection, pool.ref)
        if not terms.policy.public:
            raise PageMissingError
        last = list_rounds(connection, pool.ref, after=AFTER_ALL, limit=_LOOKED_AT, newest_first=True)
        rounds = [each for each in last if each.state is RoundState.POSTED][:ROUNDS]
        shown = paid_at_least(connection, pool.ref, [each.content.number for each in rounds], FEWEST)
        commons, log_size = journal.latest_balance(connection, pool.ref, COMMONS)
        signed = checkpoints.latest_checkpoint(connection, pool.ref)
    visit.shown["base"] = f"/pools/{pool.ref.name}"
    stranger = replace(visit, signed_in=None, session="", cookies={})
    answer = stranger.page(
        "public.html",
        pool=pool,
        policy=convert.policy_to_proto(terms),
        rounds=rounds,
        shown=shown,
        commons_minor=(commons or 0) if len(shown) == len(rounds) else None,
        log_size=log_size,
        checkpoint=convert.checkpoint_to_proto(f"pools/{pool.ref.name}", signed) if signed else None,
    )
    answer.headers["cache-control"] = f"public, max-age={KEPT_SECONDS}"
    answer.headers["vary"] = "accept-language, cookie"
    return answer
