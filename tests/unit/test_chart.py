"""The Helm chart fits the server that it runs. `make lint` renders it (`deploy/check.py`)."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import yaml

import moiety
from services.settings import PREFIX, Settings

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "deploy/chart"


def test_the_chart_has_the_servers_version() -> None:
    chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
    assert chart["appVersion"] == chart["version"] == moiety.__version__


def test_every_setting_that_the_chart_names_is_one() -> None:
    known = {f"{PREFIX}{name}".upper() for name in Settings.model_fields}
    files = [*CHART.rglob("*.yaml"), *CHART.rglob("*.tpl"), CHART / "values.schema.json", ROOT / "docs/kubernetes.md"]
    named = {name for file in files for name in re.findall(r"MOIETY_[A-Z]+[A-Z_]*[A-Z]", file.read_text())}
    assert named <= known
    assert {"MOIETY_DATABASE_URL", "MOIETY_TLS_CLIENT_CA_FILE"} <= named


def test_the_image_runs_as_the_user_that_the_chart_names() -> None:
    (user,) = re.findall(r"^USER (\d+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert f"runAsUser: {user}\n" in (CHART / "templates/_helpers.tpl").read_text()
