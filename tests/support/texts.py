"""Every text of the console and of mail that a translation must have, read from templates and code as by gettext.

The sentences of refusals are among them: pages say them in their reader's language.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from babel.messages.extract import extract_from_dir

ROOT: Final = Path(__file__).parents[2]
SERVICES: Final = ROOT / "services"
PLACES: Final = (SERVICES / "console", SERVICES / "mail")

_METHODS: Final = [("**.py", "python"), ("templates/**.html", "jinja2"), ("templates/**.txt", "jinja2")]
_OPTIONS: Final = {"templates/**.html": {"trimmed": "false", "silent": "false", "extensions": "jinja2.ext.do"}}
_KEYWORDS: Final = {"_": None, "gettext": None, "ngettext": (1, 2), "marked": None, "text": None}

_ROOMS: Final = (
    "ledger/*.py", "ledger/acts/*", "ledger/log/*", "ledger/store/**/*", "payout/**/*", "services/access/*",
    "services/api/**/*", "services/webhooks/*", "services/console/**/*", "moiety/telemetry/domains.py",
)  # fmt: skip
"""What a form of a page may be refused by. What the audit says of a log is no refusal."""

_MET_BY_NO_PAGE: Final = (
    "ledger/errors.py",  # where sentences are made
    "ledger/store/postgres/connections.py", "ledger/store/postgres/faults.py",
    "services/access/founding.py",  # at the command line
    "payout/splits.py",
    "ledger/store/usage/", "services/api/usage/",  # usage is sent by programs
    "ledger/store/pools/memberships.py", "services/api/calls/large.py", "services/api/calls/door.py",
    "services/api/grpc/", "services/api/http/",  # what carries calls over a network
)  # fmt: skip
"""Rooms whose refusals no form meets."""

_OF_A_SETTING: Final = "InvalidInputError.of('MOIETY_"
"""How a setting is refused, which servers read when they start."""

_SAYS: Final = {
    "Sentence": 0, "Violation": 1, "InvalidInputError.of": 1, "IdentityReusedError.of": 1, "StateError": 2,
    "bank_messages._refused": 0, "people._refused": 2,
}  # fmt: skip
"""What takes a sentence, and which argument that is."""


_RETURNS: Final = ("domains._reason",)
"""What returns a sentence, or a part of one."""


def messages() -> set[str | tuple[str, ...]]:
    """The texts; one with a plural is a pair."""
    found = [each for place in PLACES for each in extract_from_dir(place, _METHODS, _OPTIONS, _KEYWORDS)]
    texts = {message if isinstance(message, str) else tuple(message) for _, _, message, _, _ in found if message}
    return texts | {text for _, text in sentences() if text is not None}


def sentences() -> Iterator[tuple[str, str | None]]:
    """What a page may be refused by: where it is said, and the sentence; None where that is made as it is said."""
    for path in sorted({path for room in _ROOMS for path in ROOT.glob(room) if path.suffix == ".py"}):
        place = str(path.relative_to(ROOT))
        if not place.startswith(_MET_BY_NO_PAGE):
            yield from ((f"{place}:{line}", text) for line, text in _said_in(ast.parse(path.read_text()), path.stem))


def _said_in(tree: ast.AST, module: str) -> Iterator[tuple[int, str | None]]:
    functions = [each for each in ast.walk(tree) if isinstance(each, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions:
        for each in ast.walk(function):
            match each:
                case ast.Call():
                    yield from _texts(function, _sentence_of(each, module))
                case ast.Return(value=ast.Constant() as said) if f"{module}.{function.name}" in _RETURNS:
                    yield from _texts(function, said)
    for each in ast.walk(tree):  # of constants, too
        if isinstance(each, ast.Call) and ast.unparse(each.func) == "Sentence":
            yield from _texts(each, each.args[0])


def _sentence_of(call: ast.Call, module: str) -> ast.expr | None:
    """The argument of a call that is a sentence; None where it takes none."""
    name = ast.unparse(call.func)
    place = _SAYS.get(name, _SAYS.get(f"{module}.{name}", len(call.args)))
    is_given = place < len(call.args) and not ast.unparse(call).startswith(_OF_A_SETTING)
    return call.args[place] if is_given else None


def _texts(scope: ast.AST, said: ast.expr | None) -> Iterator[tuple[int, str | None]]:
    """The texts that an argument may be. Another's sentence, which is a parameter or an attribute, is read there."""
    match said:
        case ast.Constant(value=str(text)):
            yield said.lineno, text
        case ast.Name(id=name):
            for each in ast.walk(scope):
                if isinstance(each, ast.Assign) and [ast.unparse(target) for target in each.targets] == [name]:
                    yield from _texts(scope, each.value)
        case ast.JoinedStr(lineno=line) | ast.BinOp(lineno=line):
            yield line, None
