"""Base images: a tag may become another image tomorrow, a digest may not."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Final

import yaml

ROOT: Final = Path(__file__).parents[2]
PINNED: Final = re.compile(r"[a-z0-9./-]+:[\w.-]+@sha256:[0-9a-f]{64}")
DEFAULT: Final = re.compile(r"\$\{(\w+):-(.*)\}")


def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
    return loaded


def default_of(variable: str) -> str:
    found = DEFAULT.fullmatch(variable)
    assert found, variable
    return found[2]


def base_of_dockerfile() -> str:
    (base,) = re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    return str(base)


def test_compose_names_each_image_that_it_does_not_build_by_digest() -> None:
    built: list[str] = []
    others: list[str] = []
    for service in compose()["services"].values():
        (built if "build" in service else others).append(service["image"])
    assert set(built) == {"moiety"}
    assert others
    assert [image for image in map(default_of, others) if not PINNED.fullmatch(image)] == []


def test_the_dockerfile_begins_with_an_image_by_digest_and_compose_builds_from_the_same() -> None:
    base = base_of_dockerfile()
    assert PINNED.fullmatch(base)
    assert default_of(compose()["x-moiety"]["build"]["args"]["PYTHON_IMAGE"]) == base
    stages = re.findall(r"^FROM (\S+)", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert set(stages) == {"${PYTHON_IMAGE}"}


def test_what_compose_mounts_for_the_service_is_made_in_the_image_for_its_user() -> None:
    (made,) = re.findall(r"install --directory --owner=moiety (.+)$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    ours = [each for each in compose()["services"].values() if each["image"] == "moiety"]
    mounted = {volume.partition(":")[2] for each in ours for volume in each.get("volumes", [])}
    assert mounted - {"/var/tmp"} == set(made.split())


def test_compose_gives_everyone_who_reads_bodies_where_they_lie_and_the_volume_for_them() -> None:
    services = compose()["services"]
    for name in ("server", "scheduler"):
        assert services[name]["environment"]["MOIETY_BODIES_URL"] == "${MOIETY_BODIES_URL:-}"
        assert "bodies:/var/lib/moiety/bodies" in services[name]["volumes"]
