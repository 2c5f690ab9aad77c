"""The habits of the source that no rule of ruff can hold: constants are Final, errors are in a section of their own."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

ROOT: Final = Path(__file__).parents[2]
HOUSES: Final = ("ledger", "payout", "audit", "services", "moiety", "demo")
OTHERS: Final = ("bench", "docker", "proto", "tests")
GENERATED: Final = ROOT / "moiety" / "v1"

_CONSTANT: Final = re.compile(r"_?[A-Z][A-Z0-9_]*")
_NOT_CONSTANTS: Final = {"TypeVar", "ParamSpec", "NewType"}
_INLINE: Final = re.compile(r"^(?:Args|Attributes|Raises|Returns|Yields): \S", re.MULTILINE)
_ERROR: Final = re.compile(r"(?<![`\w.])[A-Z]\w*Error\b")

Function = ast.FunctionDef | ast.AsyncFunctionDef


def sources(*folders: str) -> list[Path]:
    return [
        path
        for folder in folders
        for path in sorted((ROOT / folder).rglob("*.py"))
        if not path.is_relative_to(GENERATED)
    ]


def named(paths: list[Path]) -> list[str]:
    return [str(path.relative_to(ROOT)) for path in paths]


def unannotated(tree: ast.Module) -> list[str]:
    """The constants of a module that are not Final. Those assigned several at once cannot be annotated."""
    return [name for name, annotation in _constants(tree) if not annotation.startswith("Final")]


def _constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        match node:
            case ast.AnnAssign(target=ast.Name(id=name), annotation=annotation) if _CONSTANT.fullmatch(name):
                yield name, ast.unparse(annotation)
            case ast.Assign(targets=[ast.Name(id=name)], value=value) if _CONSTANT.fullmatch(name):
                if not (isinstance(value, ast.Call) and _last_name(value.func) in _NOT_CONSTANTS):
                    yield name, ""


def crowded(tree: ast.Module) -> list[str]:
    """The docstrings with a section that begins on the line of its heading, where no rule of ruff sees it."""
    documented = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    return [
        getattr(node, "name", "module")
        for node in ast.walk(tree)
        if isinstance(node, documented) and _INLINE.search(ast.get_docstring(node) or "")
    ]


def misplaced(tree: ast.Module) -> list[str]:
    """What functions' docstrings say of errors outside "Raises:", and errors that are raised and not said there.

    A docstring of one line need not say what is raised; a name in backticks is of another thing than what is raised.
    """
    found = []
    for function in ast.walk(tree):
        if not isinstance(function, Function) or (text := ast.get_docstring(function)) is None:
            continue
        before, heading, section = text.partition("\nRaises:\n")
        found += [f"{function.name} says {name} before Raises:" for name in _ERROR.findall(before)]
        if "\n" in text and not _is_command(function):
            said = set(_ERROR.findall(section)) if heading else set()
            found += [f"{function.name} does not say {name}" for name in sorted(_raised(function) - said)]
    return found


def _raised(function: ast.AST) -> set[str]:
    """The errors that a function itself makes and raises, not what it calls, contains or catches."""
    names = set()
    for node in ast.iter_child_nodes(function):
        if isinstance(node, Function | ast.Lambda | ast.ClassDef):
            continue
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            names.update(_ERROR.findall(ast.unparse(node.exc.func).removesuffix(".of")))
        names |= _raised(node)
    if isinstance(function, ast.Try):
        names -= {name for each in function.handlers if each.type for name in _ERROR.findall(ast.unparse(each.type))}
    return names


def _is_command(function: Function) -> bool:
    """Whether its docstring is a command's help, which tells users what to do and not what Python raises."""
    return any(_last_name(each.func) == "command" for each in function.decorator_list if isinstance(each, ast.Call))


def _last_name(node: ast.expr) -> str:
    return ast.unparse(node).rpartition(".")[2]


@pytest.mark.parametrize("path", named(sources(*HOUSES, *OTHERS)))
def test_every_constant_is_final(path: str) -> None:
    assert unannotated(ast.parse((ROOT / path).read_text("utf-8"))) == []


@pytest.mark.parametrize("path", named(sources(*HOUSES)))
def test_docstrings_are_in_sections_and_say_there_what_is_raised(path: str) -> None:
    tree = ast.parse((ROOT / path).read_text("utf-8"))
    assert misplaced(tree) == []
    assert crowded(tree) == []


def test_the_habits_are_seen_where_they_are_broken() -> None:
    source = '''
A = 1
B: int = 2
C: Final = 3
D, E = 4, 5
T = TypeVar("T")


def f():
    """Something; KeyError where there is none."""


def g():
    """Something.

    Raises:
        KeyError: there is none.
    """
    raise ValueError("x")


def h():
    """Something of a `KeyError`.

    Raises:
        ValueError: x.
    """
    try:
        raise ValueError.of("x")
    except ValueError:
        raise


def i():
    """Something."""
    raise ValueError("x")


def j():
    """Something.

    Args: x: y.
    """
'''
    tree = ast.parse(source)
    assert unannotated(tree) == ["A", "B"]
    assert crowded(tree) == ["j"]
    assert misplaced(tree) == ["f says KeyError before Raises:", "g does not say ValueError"]
