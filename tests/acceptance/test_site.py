"""The site that `make docs` builds: whole, with links that hold, and with nothing that its reader's browser fetches."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]

_FETCHED: Final = re.compile(
    r"""<(?:script|img|iframe|source|link)[^>]*?(?:src|href)=["']?(?:https?:)?//[^>]*>|url\(["']?(?:https?:)?//[^)]*\)|@import"""
)


def test_the_site_is_whole_and_fetches_nothing_from_elsewhere() -> None:
    shutil.rmtree(ROOT / "build" / "site", ignore_errors=True)
    subprocess.run([sys.executable, "docs/site/build.py"], check=True, cwd=ROOT)
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--quiet"]  # strict: a link that leads nowhere fails
    run = subprocess.run(
        build, cwd=ROOT, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stdout + run.stderr
    site = ROOT / "build" / "site"
    for path in [*site.rglob("*.html"), *site.rglob("*.css")]:
        fetched = [found for found in _FETCHED.findall(path.read_text()) if 'rel="canonical"' not in found]
        assert fetched == [], path
    contract = (site / "docs/reference/contract.html").read_text()
    assert "Streams a log" in contract, "the contract's comments"
    assert "UsageService.ListRefusedBatches" in contract
    assert 'id="moiety.Client"' in (site / "docs/reference/sdk.html").read_text()
    assert "WatchLeaves" in (site / "search" / "search_index.json").read_text()
