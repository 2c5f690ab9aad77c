"""Lays out what `make docs` builds a site from, in `build/pages`: the pages, the contract's comments, the SDK's verbs.

The folder has the repository's own layout, so that links between pages hold in both.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from google.protobuf import descriptor_pb2

ROOT: Final = Path(__file__).resolve().parents[2]
PAGES: Final = ROOT / "build" / "pages"
COPIED: Final = (
    "docs/**/*.md",
    "docs/pictures/*",
    "docs/examples/*.*",
    "docs/examples/*/*.*",
    "docs/watching/*",
    "*.md",
    "*/README.md",
)
LEFT_OUT: Final = {"build", "node_modules", ".venv"}
CONTRACT: Final = "docs/reference/contract.md"
LINKS: Final = {"proto/moiety/v1": CONTRACT, "docs/decisions": "docs/decisions/README.md"}
"""Folders that pages link to, and the page that stands for each."""

_LINK: Final = re.compile(r"(\]\()([^)#:\s]+)([#)])")

SDK: Final = """# The SDK

What `import moiety` gives. Every verb is a method of `Client`, and of `AsyncClient`, where it is awaited.

::: moiety
    options:
      show_root_heading: false
      members:
        - Client
        - AsyncClient
        - Outbox
        - UsageEvent

"""
_VERBS: Final = ("usage", "registry", "acts", "limits", "revenue", "accounts", "payments", "rounds", "audit")


def main() -> None:
    shutil.rmtree(PAGES, ignore_errors=True)
    for path in sorted(_copied()):
        target = PAGES / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            target.write_text(_with_links(path, (ROOT / path).read_text()))
        else:
            shutil.copyfile(ROOT / path, target)
    reference = PAGES / "docs" / "reference"
    reference.mkdir()
    (PAGES / CONTRACT).write_text("\n".join(_contract()) + "\n")
    verbs = "".join(f"## {name.capitalize()}\n\n::: moiety.verbs.{name}\n\n" for name in _VERBS)
    (reference / "sdk.md").write_text(SDK + verbs)


def _copied() -> set[Path]:
    found = {path.relative_to(ROOT) for pattern in COPIED for path in ROOT.glob(pattern) if path.is_file()}
    nested = {path.relative_to(ROOT) for path in (ROOT / "moiety").rglob("README.md")}
    return {path for path in found | nested if not LEFT_OUT & set(path.parts)}


def _with_links(page: Path, text: str) -> str:
    """The page with its links to folders led to the pages that stand for them."""

    def led(found: re.Match[str]) -> str:
        aim = (ROOT / page).parent.joinpath(found[2]).resolve()
        name = aim.relative_to(ROOT).as_posix() if aim.is_relative_to(ROOT) else ""
        if name not in LINKS:
            return found[0]
        up = "../" * (len(page.parts) - 1)
        return f"{found[1]}{up}{LINKS[name]}{found[3]}"

    return _LINK.sub(led, text)


def _contract() -> Iterator[str]:
    """The contract as a page: services with their methods, then messages with their fields, by their comments."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "contract.binpb"
        command = [sys.executable, "proto/generate.py", "--check", "--descriptors", str(file)]
        subprocess.run(command, check=True, cwd=ROOT)
        described = descriptor_pb2.FileDescriptorSet.FromString(file.read_bytes())
    yield "# The contract\n\nGenerated from `proto/moiety/v1`. By gRPC, or by HTTP as `/moiety.v1.SERVICE/METHOD`.\n"
    for proto in described.file:
        if proto.package == "moiety.v1":
            yield from _file(proto)


def _file(proto: descriptor_pb2.FileDescriptorProto) -> Iterator[str]:
    said = {tuple(place.path): place.leading_comments.strip() for place in proto.source_code_info.location}
    for at, service in enumerate(proto.service):
        yield f"## {service.name}\n\n{_text(said, 6, at)}\n"
        for number, method in enumerate(service.method):
            asked, given = _kind(method.input_type), _kind(method.output_type)
            streams = "stream of " if method.client_streaming else "", "stream of " if method.server_streaming else ""
            yield f"### {service.name}.{method.name}\n\n{_text(said, 6, at, 2, number)}\n"
            yield f"{streams[0]}{asked} → {streams[1]}{given}\n"
    for at, message in enumerate(proto.message_type):
        yield from _message(said, (4, at), message, message.name)
    for at, enum in enumerate(proto.enum_type):
        yield from _enum(said, (5, at), enum)


def _message(said: dict[tuple[int, ...], str], path: tuple[int, ...], message: Any, name: str) -> Iterator[str]:
    if message.options.map_entry:
        return
    yield f"### {name}\n\n{_text(said, *path)}\n"
    if message.field:
        yield "| field | type | |\n| --- | --- | --- |"
        for number, field in enumerate(message.field):
            many = "repeated " if field.label == field.LABEL_REPEATED else ""
            kind = _kind(field.type_name) if field.type_name else _scalar(field.type)
            yield f"| `{field.name}` | {many}{kind} | {_line(_text(said, *path, 2, number))} |"
        yield ""
    for number, nested in enumerate(message.nested_type):
        yield from _message(said, (*path, 3, number), nested, f"{name}.{nested.name}")
    for number, enum in enumerate(message.enum_type):
        yield from _enum(said, (*path, 4, number), enum)


def _enum(said: dict[tuple[int, ...], str], path: tuple[int, ...], enum: Any) -> Iterator[str]:
    yield f"### {enum.name}\n\n{_text(said, *path)}\n\n| value | |\n| --- | --- |"
    for number, value in enumerate(enum.value):
        yield f"| `{value.name}` | {_line(_text(said, *path, 2, number))} |"
    yield ""


def _text(said: dict[tuple[int, ...], str], *path: int) -> str:
    return "\n".join(line.strip() for line in said.get(path, "").splitlines()).replace("{", "&#123;")


def _line(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _kind(name: str) -> str:
    short = name.removeprefix(".moiety.v1.")
    if short == name:
        return f"`{name.removeprefix('.')}`"
    return f"[{short}](#{short.lower().replace('.', '')})"


def _scalar(number: int) -> str:
    name: str = descriptor_pb2.FieldDescriptorProto.Type.Name(number)  # type: ignore[arg-type]  # it is one
    return name.removeprefix("TYPE_").lower()


if __name__ == "__main__":
    main()
