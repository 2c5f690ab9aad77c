"""A commons in which nobody has weight, as where it is shared by members and no collective has any: it carries over."""

from __future__ import annotations

from pathlib import Path

import pytest

from ledger.registry import Collective
from ledger.usage.format import AI_ONLY
from payout.entries import RoundContent
from payout.policy import CommonsRule, Policy, Rounding, UnattributedRule
from tests.support.batches import Event, event_id
from tests.support.exports import bundle_of, report_of
from tests.support.independent import verifier
from tests.support.pool_log import PoolLog
from tests.vectors.make import settle


@pytest.mark.parametrize("rule", [CommonsRule.PER_CAPITA, CommonsRule.EQUITY])
@pytest.mark.parametrize("rounding", Rounding)
@pytest.mark.parametrize("unattributed", UnattributedRule)
def test_two_verifiers_agree_on_it(
    rule: CommonsRule, rounding: Rounding, unattributed: UnattributedRule, tmp_path: Path
) -> None:
    log = PoolLog(collectives=[Collective("irish", "Irish", 0), Collective("scottish", "Scottish", 0)])
    log.open(Policy(commons_ppm=400_000, commons_rule=rule, rounding=rounding, unattributed=unattributed))
    log.method(1_000_000)
    log.usage([Event(event_id(1), "", 0, 1, AI_ONLY, (("irish", 500_000_000),))], "acme", "ngram")
    log.report(1_000)
    settle(log)
    ((_, said),) = log.placed(RoundContent)
    assert (said.commons_minor, said.carried_minor) == (0, 1_000 - said.attributed_minor)
    bundle = bundle_of(log, tmp_path / "folk.tar")
    verifier.verify(bundle)
    assert report_of(bundle).finding is None
