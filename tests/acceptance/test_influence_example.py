"""docs/examples/influence.py against a real service: raw scores of a real model, paid and replayed."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

from moiety import Collective, Method, Platform, Policy, Pool
from moiety.v1.audit_pb2 import REPLAY_OUTCOME_MATCH
from moiety.v1.registry_pb2 import DISTRIBUTE_REPORTED, SCORE_KIND_SIGNED_INFLUENCE
from tests.support.deployment import Deployment

ROOT: Final = Path(__file__).parents[2]
PAGE: Final = (ROOT / "docs" / "distribution.md").read_text(encoding="utf-8")


def test_the_example_submits_raw_scores_and_prints_the_figures_that_the_page_tells(deployment: Deployment) -> None:
    from sklearn.datasets import load_digits  # type: ignore[import-untyped] # noqa: PLC0415

    labels = load_digits(return_X_y=True)[1].tolist()
    operator = deployment.client("operators/olive")
    operator.create_platform("modelmaker", Platform(display_name="Model maker"))
    for label in range(10):
        operator.create_collective(f"digit-{label}", Collective(display_name=f"Writers of {label}", members=1))
    opened = Pool(display_name="Digits", currency="EUR", policy=Policy(), platforms=["platforms/modelmaker"])
    opened.distribute = DISTRIBUTE_REPORTED
    operator.create_pool("digits", opened)
    operator.create_membership(
        "digits", "training-images", {f"image-{at:04d}": f"digit-{label}" for at, label in enumerate(labels[:1500])}
    )
    method = Method(
        display_name="Influence functions", confidence_ppm=1_000_000, score_kind=SCORE_KIND_SIGNED_INFLUENCE,
        membership="training-images",
    )  # fmt: skip
    operator.create_method("digits", "influence", method)

    done = subprocess.run(
        [sys.executable, "docs/examples/influence.py"],
        env={
            **os.environ, "PYTHONPATH": str(ROOT), "MOIETY_ADDRESS": deployment.address,
            "MOIETY_API_KEY": deployment.key("platforms/modelmaker"),
        },
        capture_output=True, text=True, cwd=ROOT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shape, summed, clipped, submitted = done.stdout.splitlines()
    assert shape == "1500 items by 297 works; 41% of the influences are negative"
    assert submitted == "297 works submitted with raw scores"
    for line in (summed, clipped):
        order, _, figure = line.partition(" to the collective")[0].partition(": ")
        assert f"`{order}`" in PAGE
        assert figure.replace("%", " %") in PAGE
    assert summed != clipped

    deployment.client("platforms/modelmaker").report_revenue("digits", 100_000, "EUR", request_id="r")
    operator.calculate_round("digits", request_id="q")
    assert deployment.client("auditors/ada").replay_round("digits", 1).outcome == REPLAY_OUTCOME_MATCH
    # The works' own digits, counted, are what the weights come to but for the sixth that goes to others.
    paid = [line.split(",") for line in operator.get_statement("digits", 1).decode().splitlines()[1:]]
    weights = {line[0]: int(line[3]) for line in paid}
    own = {f"digit-{label}": labels[1500:].count(label) for label in range(10)}
    assert all(0.7 < weights[name] / 10**9 / count < 1.3 for name, count in own.items())
