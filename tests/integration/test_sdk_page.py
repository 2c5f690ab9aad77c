"""The code on the SDK's page is run from top to bottom, as it stands."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import pytest

from moiety import Client, Method, event_id_of
from tests.support.deployment import Deployment
from tests.support.scene import open_scene

pytestmark = pytest.mark.surface

PAGE: Final = Path(__file__).parents[2] / "docs" / "sdk.md"
_CODE: Final = re.compile(r"^```python\n(.*?)^```", re.DOTALL | re.MULTILINE)


def test_the_code_of_the_page_does_what_it_says(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    deployment.clock.advance(days=5)
    scene = open_scene(deployment)
    scene.operator.create_method("folk", "melody-ngram", Method(display_name="Melodies", confidence_ppm=1_000_000))
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOIETY_ADDRESS", deployment.address)
    monkeypatch.setenv("MOIETY_API_KEY", deployment.key("platforms/tunesmith"))
    page = PAGE.read_text()
    names: dict[str, Any] = {"__name__": "page", "operator": scene.operator}
    for found in _CODE.finditer(page):
        code = "\n" * page.count("\n", 0, found.start(1)) + found[1]
        exec(compile(code, PAGE, "exec"), names)
    client: Client = names["client"]
    assert client.find_event("folk", str(event_id_of("play-4"))).event.units == 1
    client.close()
    assert scene.operator.get_collective("irish").members == 412
    names["outbox"].close()
