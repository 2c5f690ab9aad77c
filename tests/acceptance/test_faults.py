"""A short run of `make faults`: a few faults under traffic, and nothing is lost, doubled or stuck."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]


@pytest.mark.timeout(900)
def test_a_short_campaign_loses_nothing() -> None:
    command = [sys.executable, "-m", "tests.faults", "--minutes", "0.2", "--seed", "3"]
    ran = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert '"problems": []' in ran.stdout
