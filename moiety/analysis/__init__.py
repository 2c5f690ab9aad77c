"""Analysis of exported pools, written once in Ibis: on DuckDB in this process, or on Spark and others beyond it.

    pip install "moiety[analysis]"

    from moiety.analysis import open_export, rows, usage_by

    export = open_export("exported")
    rows(usage_by(export, "collective", "month"))

`moiety export POOL DIR --parquet` makes the files; docs/analysis.md says what is in them, and what fits in a column.
"""

from __future__ import annotations

from moiety.analysis.amounts import RecomputedRound, apportion, recompute_round
from moiety.analysis.export import AnalysisError, Export, open_export, rows
from moiety.analysis.money import money_by
from moiety.analysis.usage import USAGE_KEYS, usage_by
from moiety.analysis.weights import round_unattributed, round_weights

__all__ = [
    "USAGE_KEYS",
    "AnalysisError",
    "Export",
    "RecomputedRound",
    "apportion",
    "money_by",
    "open_export",
    "recompute_round",
    "round_unattributed",
    "round_weights",
    "rows",
    "usage_by",
]
