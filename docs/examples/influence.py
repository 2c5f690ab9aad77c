# ruff: noqa: INP001, T201 - an example to be run, in no package
"""Influence functions on a small model, made into shares: who taught the model what it needed for each work?

    pip install moiety scikit-learn
    python docs/examples/influence.py

With MOIETY_ADDRESS and a platform's MOIETY_API_KEY set, the raw scores are submitted too, to the pool `digits` under
the method `influence`. An operator has declared both before, with the membership of the images (`membership_of`):

    method:      score_kind SIGNED_INFLUENCE, membership training-images
    membership:  image-0000,digit-0 and so on

A softmax regression is trained on images of handwritten digits that ten collectives contributed, one for each digit. A
held-out image stands for a generated work. The influence of a training image on it is how much the model's loss there
would fall if that training image weighed more (Koh and Liang 2017, arXiv 1703.04730):

    gradient(work) . inverse Hessian . gradient(training image)

Influences are signed, and most are noise around zero. So it matters much whether they are summed per collective before
the negative ones are cut off, or after; the end of the output shows it.
"""

from __future__ import annotations

import os
from datetime import UTC, datetime
from typing import Any, Final

import numpy as np
import numpy.typing as npt

import moiety
from moiety import Mode
from moiety.attribution import ScoreKind, ScoreOrder, ScoreRule, score_batches, shares_table

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]

RIDGE: Final = 1.0
"""Strength of the penalty on the weights, which keeps the Hessian invertible."""

NEWTON_STEPS: Final = 20
"""At the most; the slope is as good as zero after about eight."""

FLAT: Final = 1e-9
"""A slope that is as good as zero."""

WHEN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def probabilities(weights: Floats, features: Floats) -> Floats:
    """(n, classes) of a softmax regression; weights: (classes, d), features: (n, d)."""
    logits = features @ weights.T
    odds = np.exp(logits - logits.max(axis=1, keepdims=True))
    result: Floats = odds / odds.sum(axis=1, keepdims=True)
    return result


def gradients(weights: Floats, features: Floats, labels: Labels) -> Floats:
    """(n, classes * d): each example's gradient of the loss."""
    surplus = probabilities(weights, features) - np.eye(len(weights))[labels]
    result: Floats = np.einsum("nc,nd->ncd", surplus, features).reshape(len(features), -1)
    return result


def hessian(weights: Floats, features: Floats) -> Floats:
    """(classes * d, classes * d): of the penalised loss over all examples."""
    odds = probabilities(weights, features)
    curvature = np.einsum("na,ab->nab", odds, np.eye(len(weights))) - np.einsum("na,nb->nab", odds, odds)
    blocks = np.einsum("nab,nd,ne->adbe", curvature, features, features, optimize=True)
    result: Floats = blocks.reshape(weights.size, weights.size) + RIDGE * np.eye(weights.size)
    return result


def fit(features: Floats, labels: Labels) -> Floats:
    """The weights at the minimum of the penalised loss, by Newton's method."""
    weights = np.zeros((int(labels.max()) + 1, features.shape[1]))
    for _ in range(NEWTON_STEPS):
        slope = gradients(weights, features, labels).sum(axis=0) + RIDGE * weights.ravel()
        if np.abs(slope).max() < FLAT:
            break
        weights -= np.linalg.solve(hessian(weights, features), slope).reshape(weights.shape)
    return weights


def influences(features: Floats, labels: Labels, work_features: Floats, work_labels: Labels) -> Floats:
    """(items, works): how much each training example helps the model with each work."""
    weights = fit(features, labels)
    of_works = gradients(weights, work_features, work_labels)
    return gradients(weights, features, labels) @ np.linalg.solve(hessian(weights, features), of_works.T)


def membership_of(labels: Labels) -> dict[str, str]:
    """The collective of each training image, which is named after its label."""
    return {f"image-{number:04d}": f"digit-{label}" for number, label in enumerate(labels.tolist())}


def works_of(matrix: Floats) -> list[str]:
    """An id for each work."""
    return [f"urn:example:work-{number}" for number in range(matrix.shape[1])]


def shares_by_label(matrix: Floats, labels: Labels, order: ScoreOrder) -> list[dict[str, int]]:
    """For each work, the share in billionths of each collective, computed here."""
    membership = membership_of(labels)
    table = shares_table(
        matrix,
        membership,
        ScoreRule(ScoreKind.SIGNED_INFLUENCE, order),
        items=list(membership),
        works=works_of(matrix),
        occurred_at=WHEN,
        units=1,
        mode=Mode.AI_ONLY,
    )
    pairs: list[dict[str, Any]] = table.select(["collectives", "shares"]).to_pylist()
    return [dict(zip(row["collectives"], row["shares"], strict=True)) for row in pairs]


def submit(client: moiety.Client, matrix: Floats, labels: Labels) -> list[moiety.Receipt]:
    """The same with raw scores: the service computes the shares, by the rule that its log has of the method."""
    batches = score_batches(
        matrix,
        items=list(membership_of(labels)),
        works=works_of(matrix),
        occurred_at=WHEN,
        units=1,
        mode=Mode.AI_ONLY,
    )
    return client.submit_scores("digits", batches, "influence")


def part_to_own_label(shares: list[dict[str, int]], work_labels: Labels) -> float:
    """The part of all works that goes to the collective of the work's own label."""
    own = sum(found.get(f"digit-{label}", 0) for found, label in zip(shares, work_labels.tolist(), strict=True))
    return own / (len(shares) * 10**9)


def main() -> None:
    from sklearn.datasets import load_digits  # type: ignore[import-not-found,import-untyped,unused-ignore] # noqa: PLC0415

    images, labels = load_digits(return_X_y=True)
    features = np.hstack([images / 16.0, np.ones((len(images), 1))])
    labels = labels.astype(np.int64)
    items, works = slice(0, 1500), slice(1500, None)
    matrix = influences(features[items], labels[items], features[works], labels[works])
    print(
        f"{matrix.shape[0]} items by {matrix.shape[1]} works; {np.mean(matrix < 0):.0%} of the influences are negative"
    )
    for order in ScoreOrder:
        shares = shares_by_label(matrix, labels[items], order)
        print(f"{order}: {part_to_own_label(shares, labels[works]):.1%} to the collective of the work's own digit")
    if {"MOIETY_ADDRESS", "MOIETY_API_KEY"} <= os.environ.keys():
        with moiety.Client(os.environ["MOIETY_ADDRESS"], os.environ["MOIETY_API_KEY"]) as client:
            receipts = submit(client, matrix, labels[items])
        print(f"{sum(receipt.accepted_count for receipt in receipts)} works submitted with raw scores")


if __name__ == "__main__":
    main()
