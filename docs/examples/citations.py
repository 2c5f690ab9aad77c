# ruff: noqa: INP001, T201 - an example to be run, in no package
"""Citation counts of real texts, made into shares: whose publications does each text draw on?

    pip install moiety scikit-learn
    python docs/examples/citations.py

With MOIETY_ADDRESS and a platform's MOIETY_API_KEY set, the raw counts are submitted too, to the pool `manual` under
the method `citations`. An operator has declared both before, with the membership of the sources (`membership_of`):

    method:      score_kind COUNT, membership publications
    membership:  https://doi.org/10.1023/A:1010933404324,registered-dois and so on

The texts are the pages of scikit-learn's reference, one for each estimator, as they stand in its docstrings. An item is
an address that they cite, and its score is how often. Who publishes what is said by domain, and what is found at no
domain that is declared stays unattributed. Few texts cite the same address, so the matrix is sparse.
"""

from __future__ import annotations

import os
import re
from collections import Counter
from datetime import UTC, datetime
from typing import Any, Final

import moiety
from moiety import DomainMap, Mode
from moiety.attribution import ScoreKind, ScoreRule, score_batches, shares_table

PUBLISHERS: Final = DomainMap(
    {
        "arxiv": ["arxiv.org"],
        "encyclopedists": ["wikipedia.org"],
        "jmlr": ["jmlr.org", "jmlr.csail.mit.edu"],
        "neurips": ["neurips.cc", "nips.cc"],
        "registered-dois": ["doi.org"],
    }
)

CITATION: Final = re.compile(r"(?P<url>https?://[^\s<>`\"']+)|:(?P<role>doi|arxiv):`(?:[^`<]*<)?(?P<id>[^`>]+)")
PREFIX: Final = {"doi": "https://doi.org/", "arxiv": "https://arxiv.org/abs/"}

ADDRESS_MAX: Final = 256
"""Longer ids of sources are refused."""

WHEN: Final = datetime(2026, 1, 1, tzinfo=UTC)


def citations_in(text: str) -> Counter[str]:
    """How often a text cites each address; a DOI or arXiv number is one too."""
    found = (PREFIX[each["role"]] + each["id"] if each["role"] else each["url"] for each in CITATION.finditer(text))
    return Counter(address.strip().rstrip(".,;)").replace(",", "%2C")[:ADDRESS_MAX] for address in found)


def reference_pages() -> dict[str, str]:
    """The text of each estimator's page."""
    from sklearn.utils import all_estimators  # type: ignore[import-not-found,import-untyped,unused-ignore] # noqa: PLC0415

    return {f"urn:example:{kind.__module__}.{name}": kind.__doc__ or "" for name, kind in all_estimators()}


def matrix_of(counts: dict[str, Counter[str]]) -> tuple[Any, list[str]]:
    """The counts as a sparse matrix, items by works, and its items."""
    from scipy.sparse import csc_array  # type: ignore[import-untyped,unused-ignore] # noqa: PLC0415

    items = sorted(set().union(*counts.values()))
    row = {item: number for number, item in enumerate(items)}
    cells = [(count, row[item], work) for work, cited in enumerate(counts.values()) for item, count in cited.items()]
    data, rows, works = zip(*cells, strict=True)
    return csc_array((data, (rows, works)), shape=(len(items), len(counts))), items


def membership_of(items: list[str]) -> dict[str, str]:
    """The publisher of each address that is found at a declared domain."""
    owners = {item: PUBLISHERS.collective_of(item) for item in items}
    return {item: owner for item, owner in owners.items() if owner is not None}


def main() -> None:
    counts = {work: citations_in(text) for work, text in reference_pages().items()}
    matrix, items = matrix_of(counts)
    membership = membership_of(items)
    called: dict[str, Any] = {"items": items, "works": list(counts), "occurred_at": WHEN, "units": 1}
    table = shares_table(matrix, membership, ScoreRule(ScoreKind.COUNT), mode=Mode.AI_ONLY, **called)
    print(f"{matrix.shape[0]} items by {matrix.shape[1]} works, {matrix.sum()} citations")
    total: Counter[str] = Counter()
    for row in table.select(["collectives", "shares"]).to_pylist():
        total.update(dict(zip(row["collectives"], row["shares"], strict=True)))
    for name in sorted(total):
        print(f"{name}: {total[name] / 10**9:.3f} works")
    if {"MOIETY_ADDRESS", "MOIETY_API_KEY"} <= os.environ.keys():
        with moiety.Client(os.environ["MOIETY_ADDRESS"], os.environ["MOIETY_API_KEY"]) as client:
            batches = score_batches(matrix, mode=Mode.AI_ONLY, **called)
            receipts = client.submit_scores("manual", batches, "citations")
        print(f"{sum(receipt.accepted_count for receipt in receipts)} works submitted with raw counts")


if __name__ == "__main__":
    main()
