"""docs/examples/citations.py against a real service: raw counts of real texts, paid and replayed."""

from __future__ import annotations

import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest

from moiety import Collective, Method, Platform, Policy, Pool
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED, SCORE_KIND_COUNT
from tests.support.deployment import Deployment

ROOT: Final = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def example() -> dict[str, Any]:
    return runpy.run_path(str(ROOT / "docs/examples/citations.py"))


def test_addresses_and_roles_are_counted(example: dict[str, Any]) -> None:
    text = """
    .. [1] :doi:`"A title" <10.1000/a,b>`, see https://jmlr.org/papers/v12/x.html.
    .. [2] :arxiv:`1234.5678`, and again (https://jmlr.org/papers/v12/x.html)
    """
    assert example["citations_in"](text) == {
        "https://doi.org/10.1000/a%2Cb": 1,
        "https://jmlr.org/papers/v12/x.html": 2,
        "https://arxiv.org/abs/1234.5678": 1,
    }


def test_the_service_pays_by_the_counts_what_the_client_computes(
    example: dict[str, Any], deployment: Deployment
) -> None:
    counts = {work: example["citations_in"](text) for work, text in example["reference_pages"]().items()}
    _, items = example["matrix_of"](counts)
    membership = example["membership_of"](items)
    operator = deployment.client("operators/olive")
    operator.create_platform("modelmaker", Platform(display_name="Model maker"))
    for name in set(membership.values()):
        operator.create_collective(name, Collective(display_name=name))
    opened = Pool(display_name="Manual", currency="EUR", policy=Policy(), platforms=["platforms/modelmaker"])
    opened.distribute = DISTRIBUTE_REPORTED
    operator.create_pool("manual", opened)
    operator.create_membership("manual", "publications", membership)
    method = Method(
        display_name="Citations", confidence_ppm=1_000_000, score_kind=SCORE_KIND_COUNT, membership="publications"
    )
    operator.create_method("manual", "citations", method)

    done = subprocess.run(
        [sys.executable, "docs/examples/citations.py"],
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "MOIETY_ADDRESS": deployment.address,
            "MOIETY_API_KEY": deployment.key("platforms/modelmaker"),
        },
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shape, *shares, submitted = done.stdout.splitlines()
    cited = sum(sum(found.values()) for found in counts.values())
    assert shape == f"{len(items)} items by {len(counts)} works, {cited} citations"
    assert cited > len(items) > len(membership) > 0
    assert submitted == f"{len(counts)} works submitted with raw counts"

    deployment.client("platforms/modelmaker").report_revenue("manual", 100_000, "EUR", request_id="r")
    operator.calculate_round("manual", request_id="q")
    assert deployment.client("auditors/ada").replay_round("manual", 1).outcome == REPLAY_OUTCOME_MATCH
    lines = [line.split(",") for line in operator.get_statement("manual", 1).decode().splitlines()[1:]]
    assert shares == [f"{line[0]}: {int(line[3]) / 10**9:.3f} works" for line in lines]
