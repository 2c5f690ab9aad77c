"""The pages: links lead somewhere, lines are no longer than people read, and the lists of pages are whole."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
LINE_MAX: Final = 120
FOLDERS: Final = ("", "*/", "docs/**/", ".github/**/")
PAGES: Final = sorted(
    {
        str(page.relative_to(ROOT))
        for folder in FOLDERS
        for page in ROOT.glob(f"{folder}*.md")
        if "node_modules" not in page.parts
    }
)

EXTENDING: Final = (ROOT / "docs" / "extending.md").read_text()

_FENCE: Final = re.compile(r"^ *```.*?^ *```", re.DOTALL | re.MULTILINE)
_CODE: Final = re.compile(r"`[^`]*`")
_LINK: Final = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", PAGES)
def test_every_relative_link_leads_to_a_file_and_a_heading(page: str) -> None:
    assert dead_links(ROOT / page, (ROOT / page).read_text()) == []


def dead_links(page: Path, text: str) -> list[str]:
    links = _LINK.findall(_CODE.sub("", _FENCE.sub("", text)))
    return [link for link in links if "://" not in link and not leads_somewhere(page, link)]


def leads_somewhere(page: Path, link: str) -> bool:
    path, _, anchor = link.partition("#")
    target = page.parent / path if path else page
    return target.exists() and (not anchor or anchor in anchors(target))


def anchors(page: Path) -> set[str]:
    """The anchors that GitHub gives a page's headings."""
    headings = re.findall(r"^#+ (.+)$", _FENCE.sub("", page.read_text()), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def test_dead_links_are_found() -> None:
    page = ROOT / "docs" / "README.md"
    text = (
        "[a](none.md) [b](README.md#none) [c](#none) [d](https://example.org/none) [e](../README.md#run-it)\n"
        "`keys[0](none.md)` and `all[i]` [f](gone.md)\n```text\n[g](none.md)\n```\n"
    )
    assert dead_links(page, text) == ["none.md", "README.md#none", "#none", "gone.md"]


@pytest.mark.parametrize("page", PAGES)
def test_no_line_of_text_is_longer_than_120_characters(page: str) -> None:
    assert long_lines((ROOT / page).read_text()) == []


def long_lines(text: str) -> list[str]:
    """Lines that could be wrapped and are too long: not rows of tables, code, pictures or a link alone."""
    return [line for line in _wrappable(_FENCE.sub("", text)) if len(line) > LINE_MAX]


def _wrappable(text: str) -> Iterator[str]:
    for line in text.splitlines():
        first = line.lstrip(" -*0123456789.")
        if not line.startswith(("|", "    ", "![")) and " " in _LINK.sub("]", first):
            yield line


def test_long_lines_are_found() -> None:
    long = "word " * 25
    link = f"[{'a' * 100}](https://example.org/{'b' * 100})"
    assert long_lines(f"{long}\n| {long} |\n- {link}\n```text\n{long}\n```\n- {long}\n") == [long, f"- {long}"]


def test_every_page_is_in_a_list_of_pages() -> None:
    assert unlisted("docs") == set()
    assert unlisted("docs/decisions") == set()


def unlisted(folder: str) -> set[str]:
    links = _LINK.findall((ROOT / folder / "README.md").read_text())
    pages = {page.name for page in (ROOT / folder).glob("*.md")} - {"README.md"}
    return pages - {link.partition("#")[0] for link in links}


def test_the_pages_name_targets_that_make_has() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for page in PAGES:
        text = (ROOT / page).read_text()
        named = re.findall(r"`make ([a-z -]+)`", text) + re.findall(r"^(?:\$| {3}) make ([a-z-]+)", text, re.MULTILINE)
        assert {word for words in named for word in words.split()} <= targets, page


@pytest.mark.parametrize("page", PAGES)
def test_every_module_that_a_page_names_is_there(page: str) -> None:
    assert lost_modules(ROOT / page, (ROOT / page).read_text()) == []


def lost_modules(page: Path, text: str) -> list[str]:
    """The modules in code that are neither beside the page nor where the repository has them."""
    named = re.findall(r"`([\w/]+/\w+\.py)`", _FENCE.sub("", text))
    return [path for path in named if not ((page.parent / path).exists() or (ROOT / path).exists())]


def test_lost_modules_are_found() -> None:
    text = "`store/logs/log.py`, `ledger/store/logs/log.py`, `store/none.py` and `ledger/none.py`"
    assert lost_modules(ROOT / "ledger" / "README.md", text) == ["store/none.py", "ledger/none.py"]


ENTRY_FILES_MAX: Final = 8


def test_the_page_on_extending_lists_files_that_exist_and_few_for_an_entry() -> None:
    lists = {
        kind: re.findall(r"^\| `([^`]+)` \|", section, re.MULTILINE)
        for kind, section in re.findall(r"^## (.+?)\n(.*?)(?=^## |\Z)", EXTENDING, re.DOTALL | re.MULTILINE)
    }
    assert list(lists) == ["An entry", "An RPC", "A table", "A commons rule", "A usage format", "A metric"]
    assert all(lists.values())
    assert 0 < len(lists["An entry"]) <= ENTRY_FILES_MAX
    named = [path for paths in lists.values() for path in paths] + re.findall(r"`(tests/[^`]+)`", EXTENDING)
    assert [path for path in named if not (ROOT / path).exists()] == []
