"""Texts that are, or are not, in the one form that JSON and checkpoints have: whoever verifies must say the same."""

from __future__ import annotations

import json
import subprocess
from base64 import b64encode
from typing import Any, Final

from tests.support.statement_files import MODULE, NODE

_NUMBERS: Final = [
    "0", "-1", "1.5", "-0.5", "333333333.3333333", "9007199254740991", "9007199254740992", "-9007199254740992",
    "295147905179352830000", "123456789012345680000", "0.000001", "0.00012", "1e-7", "1.5e-7", "5e-324", "1e+21",
    "-1.5e+21", "1e+300", "1.7976931348623157e+308",
]  # fmt: skip
_NO_NUMBERS: Final = [
    "-0", "0.0", "-0.0", "1.0", "1.50", "01", "+1", ".5", "1.", "1e21", "1E+21", "1e+20", "1e+021", "1e-6", "1e-07",
    "0.0000001", "1000000000000000000000", "9007199254740993", "1e400", "-1e400", "NaN", "Infinity", "0x1", "1_0",
]  # fmt: skip

CANONICAL: Final = {
    **{f"the number {text}": f'{{"a":{text}}}' for text in _NUMBERS},
    "literals": '{"a":[true,false,null,[],{},""]}',
    "short escapes": r'{"a":"\b\t\n\f\r\"\\"}',
    "other control characters": r'{"a":"\u0000\u000b\u001b\u001f"}',
    "text that is not escaped": '{"a":"/é日\U0001f600\x7f\x80\u2028\u2029\ufeff\ufffe\uffff"}',
    "names by UTF-16": '{"\r":1,"1":2,"\x80":3,"ö":4,"€":5,"\U0001f600":6,"\ufb33":7}'.replace("\r", r"\r"),
    "names of digits": '{"10":1,"9":2}',
    "names of JavaScript": '{"":1,"__proto__":{"a":1},"constructor":2,"toString":3}',
    "100 objects": '{"a":' * 99 + "{}" + "}" * 99,
    "100 lists and objects": '{"a":' + "[" * 99 + "]" * 99 + "}",
    "brackets in a text": '{"a":"' + '[{\\"' * 101 + '"}',
}
"""In the form of RFC 8785, and nested at most 100 deep."""

NOT_CANONICAL: Final = {
    **{f"the number {text}": f'{{"a":{text}}}' for text in _NO_NUMBERS},
    "a needless escape": r'{"a":"\/"}',
    "an escape in capitals": r'{"a":"\u001F"}',
    "a long escape": r'{"a":"\u0008"}',
    "an escaped letter": r'{"a":"\u00e9"}',
    "an escaped pair": r'{"a":"\ud83d\ude00"}',
    "half a pair": r'{"a":"\ud83d"}',
    "half a pair in a name": r'{"\ude00":1}',
    "a raw control character": '{"a":"\x1f"}',
    "names in another order": '{"b":1,"a":2}',
    "names by code point": '{"\ufb33":7,"\U0001f600":6}',
    "names by number": '{"9":2,"10":1}',
    "a name twice": '{"a":1,"a":1}',
    "a space": '{"a": 1}',
    "a line feed at the end": '{"a":1}\n',
    "a byte order mark": '\ufeff{"a":1}',
    "a comma too many": '{"a":1,}',
    "two documents": '{"a":1}{"a":1}',
    "no end": '{"a":1',
    "nothing": "",
    "101 objects": '{"a":' * 100 + "{}" + "}" * 100,
    "101 lists and objects": '{"a":' + "[" * 100 + "]" * 100 + "}",
    "1,000 lists": '{"a":' + "[" * 1000 + "]" * 1000 + "}",
}

_ROOT: Final = b64encode(bytes(range(32))).decode()
_SIGNATURE: Final = f"— example.org/pools/folk {b64encode(bytes(68)).decode()}\n"


def _note(size: str = "3", more: str = "", root: str = _ROOT, signatures: str = _SIGNATURE) -> str:
    return f"example.org/pools/folk\n{size}\n{root}\n{more}\n{signatures}"


CHECKPOINTS: Final = {
    "three lines": _note(),
    "no leaves": _note("0"),
    "the largest size": _note(str(2**63 - 1)),
    "extensions": _note(more="one\ntwo three\n"),
    "an extension of a space": _note(more=" \n"),
    "an extension of other characters": _note(more="é\x7f\x80\x85\u2028\u202e\ufeff\n"),
    "100 signatures": _note(signatures=_SIGNATURE * 100),
    "a signature of five bytes": _note(signatures=f"— a {b64encode(bytes(5)).decode()}\n"),
}
"""Notes in the form of a checkpoint. Whether a signature is valid is another question."""

NO_CHECKPOINTS: Final = {
    "nothing": "",
    "an empty extension": _note(more="\n"),
    "an empty extension between two": _note(more="one\n\ntwo\n"),
    **{f"the control character {ord(each)}": _note(more=f"a{each}b\n") for each in "\0\x01\t\v\f\r\x1f"},
    "the line ends of Windows": _note().replace("\n", "\r\n"),
    "no origin": _note().removeprefix("example.org/pools/folk"),
    "two lines": f"example.org/pools/folk\n3\n\n{_SIGNATURE}",
    **{
        f"the size {size!r}": _note(size)
        for size in ("", "03", "+3", "-3", "3.0", "3 ", "٣", "1e3", str(2**63), "9" * 40)
    },
    "a short root": _note(root=b64encode(bytes(31)).decode()),
    "a long root": _note(root=b64encode(bytes(33)).decode()),
    "a root without padding": _note(root=_ROOT.rstrip("=")),
    "a root with spare bits": _note(root=_ROOT[:-2] + "9="),
    "a root of another alphabet": _note(root=b64encode(b"\xff" * 32, b"-_").decode()),
    "no signatures": _note(signatures=""),
    "no blank line": _note().replace("\n\n", "\n"),
    "no line feed at the end": _note().removesuffix("\n"),
    "101 signatures": _note(signatures=_SIGNATURE * 101),
    "a hyphen for a dash": _note(signatures=_SIGNATURE.replace("—", "-")),
    "a signature of four bytes": _note(signatures=f"— a {b64encode(bytes(4)).decode()}\n"),
    "a signature that is not base64": _note(signatures="— a AAAAAAAA!\n"),
    "a signature with more": _note(signatures=_SIGNATURE.replace("\n", " more\n")),
    "a signer without a name": _note(signatures=_SIGNATURE.replace("example.org/pools/folk", "")),
    **{
        f"a signer with the character {ord(each)}": _note(signatures=_SIGNATURE.replace("folk", f"fo{each}lk"))
        for each in "+\x85\xa0\u1680\u200a\u2028\u3000"
    },
}


def documents() -> dict[str, list[dict[str, Any]]]:
    """The test vectors, by the name of their file."""
    kinds = {"canonical": (CANONICAL, NOT_CANONICAL), "checkpoints": (CHECKPOINTS, NO_CHECKPOINTS)}
    return {
        kind: [
            {"name": name, "text": text, "holds": holds}
            for holds, texts in ((True, good), (False, bad))
            for name, text in texts.items()
        ]
        for kind, (good, bad) in kinds.items()
    }


_INSIDE: Final = """
import { readFileSync } from 'node:fs';
const { module, names, call, values } = JSON.parse(readFileSync(0, 'utf8'));
const text = `${readFileSync(module, 'utf8')}\\nexport { ${names} };`;
const inside = await import(`data:text/javascript;base64,${Buffer.from(text).toString('base64')}`);
const run = new Function('inside', 'value', `return ${call};`);
const found = values.map((value) => {
  try {
    return run(inside, value) ?? null;
  } catch (error) {
    return { error: error.message };
  }
});
console.log(JSON.stringify(found));
"""


def inside_node(names: str, call: str, values: list[Any]) -> list[Any]:
    """What a JavaScript expression gives for each `value`, where `inside` has these functions of `verify.mjs`."""
    assert NODE is not None
    asked = json.dumps({"module": str(MODULE), "names": names, "call": call, "values": values})
    command = [NODE, "--input-type=module", "-e", _INSIDE]
    done = subprocess.run(command, input=asked, capture_output=True, text=True, check=True)
    found: list[Any] = json.loads(done.stdout)
    return found
