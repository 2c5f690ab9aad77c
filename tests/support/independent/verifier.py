"""A second verifier, written from docs/verification.md alone: plain Python, pyarrow to read Arrow, cryptography for
cosignatures, nothing of ours.

It checks the tree, the fold, the books and every round of a bundle, and gives what it found. It is made to be read
beside the page, section by section, and not to be fast.
"""

from __future__ import annotations

import base64
import hmac
import json
import re
import tarfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from fractions import Fraction
from hashlib import sha256
from math import frexp, isqrt
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Final, cast

import pyarrow as pa
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

NANO, PPM = 10**9, 10**6
MOST_BYTES: Final = {
    "body_sha256": 2**25, "domains_sha256": 268_000, "logs_sha256": 2**24, "review_began_sha256": 2**20,
    "review_ended_sha256": 2**20, "salt_sha256": 64,
}  # fmt: skip
MOST_CHANGES, MOST_LISTED = 1_000, 2**24
Key = tuple[str, int, int]


# 1. Files.


def files_of(bundle: Path) -> dict[str, bytes]:
    with tarfile.open(bundle) as archive:
        opened = ((member.name, archive.extractfile(member)) for member in archive.getmembers())
        return {name: file.read() for name, file in opened if file}


def entries_of(files: dict[str, bytes], size: int, folder: str = "") -> Iterator[bytes]:
    for start in range(0, size, 256):
        width, digits = min(256, size - start), f"{start // 256:03d}"
        assert len(digits) == 3
        data = files[f"{folder}tile/entries/{digits}" + (f".p/{width}" if width < 256 else "")]
        at = 0
        for _ in range(width):
            length = int.from_bytes(data[at : at + 2], "big")
            yield data[at + 2 : at + 2 + length]
            at += 2 + length
        assert at == len(data)


def files_in_order(log: Log, folder: str = "") -> Iterator[tuple[str, bytes]]:
    """The entries of a log, each bundle with the tiles that it fills, and the partial tiles."""
    levels = [log.hashes]
    while len(levels[-1]) >= 256:
        below = levels[-1]
        levels.append([root_of(below[at : at + 256]) for at in range(0, len(below) // 256 * 256, 256)])
    for start in range(0, len(log.raw), 256):
        part = log.raw[start : start + 256]
        name = f"{folder}tile/entries/{numbered(start // 256)}" + ("" if len(part) == 256 else f".p/{len(part)}")
        yield name, b"".join(len(entry).to_bytes(2, "big") + entry for entry in part)
        end, level = start + 256, 0
        while len(part) == 256 and end % 256 ** (level + 1) == 0:
            number = end // 256 ** (level + 1) - 1
            tile = levels[level][256 * number : 256 * number + 256]
            yield f"{folder}tile/{level}/{numbered(number)}", b"".join(tile)
            level += 1
    for level, hashes in enumerate(levels):
        if rest := hashes[len(hashes) // 256 * 256 :]:
            yield f"{folder}tile/{level}/{numbered(len(hashes) // 256)}.p/{len(rest)}", b"".join(rest)


def numbered(number: int) -> str:
    groups = [f"{number % 1000:03d}"]
    while number := number // 1000:
        groups.insert(0, f"x{number % 1000:03d}")
    return "/".join(groups)


def bodies_in_order(log: Log, files: dict[str, bytes], folder: str = "") -> Iterator[tuple[str, bytes]]:
    named: dict[str, int] = {}
    """By path, the most bytes that all fields allow that name the body."""
    for entry in log.entries:
        fields = {**entry, **(entry["content"] if entry["type"] == "proposal.v1" else {})}
        digests = [(said, MOST_BYTES.get(name, 2**27)) for name, said in fields.items() if name.endswith("_sha256")]
        for digest, most in sorted(digests):
            path = f"{folder}body/{digest[:2]}/{digest}"
            named[path] = min(named.get(path, most), most)
    for path, most in named.items():
        assert len(files[path]) <= most
        assert sha256(files[path]).hexdigest() == path[-64:]
        yield path, files[path]


def archive_of(files: Iterable[tuple[str, bytes]]) -> bytes:
    """The one archive that holds these files in this order."""
    blocks = []
    for path, data in files:
        header = tarfile.TarInfo(path)
        header.size = len(data)
        blocks += [header.tobuf(tarfile.USTAR_FORMAT), data, bytes(-len(data) % 512)]
    return b"".join(blocks) + bytes(1024)


# 2. The tree.


@dataclass
class Log:
    """A log's entries, as bytes and as JSON, and their hashes; its root is the checkpoint's, which its key signed."""

    raw: list[bytes]
    hashes: list[bytes]
    entries: list[dict[str, Any]]

    @classmethod
    def of(cls, files: dict[str, bytes], name: str, folder: str = "") -> Log:
        _, size, root = checkpoint_of(files[f"{folder}checkpoint"])
        raw = list(entries_of(files, size, folder))
        hashes = [sha256(b"\x00" + entry).digest() for entry in raw]
        assert root_of(hashes) == root
        entries = [canonical(entry) for entry in raw]
        for entry in entries:
            is_sound(entry)
        assert [(entry["index"], entry["pool"]) for entry in entries] == [(at, name) for at in range(size)]
        return cls(raw, hashes, entries)


@dataclass
class Keys:
    """The keys of a deployment, one after the other: `changes[n]` replaced `keys[n]`; `trusted` is the given one's."""

    keys: list[Ed25519PublicKey]
    changes: list[Change]
    trusted: int

    @classmethod
    def of(cls, vkey: str, entries: Sequence[dict[str, Any]], files: dict[str, bytes]) -> Keys:
        """From a key that is trusted, and the changes of it in the registry's log."""
        found = [entry for entry in entries if entry["type"] == "keychange.v1"]
        assert len(found) <= MOST_CHANGES
        paths = [f"registry/body/{entry['logs_sha256'][:2]}/{entry['logs_sha256']}" for entry in found]
        assert sum(len(files[path]) for path in paths) <= MOST_LISTED
        changes = [Change.of(entry, files) for entry in found]
        keys = [changes[0].old, *(change.new for change in changes)] if changes else [key_in(vkey)]
        assert all(change.old == keys[place] for place, change in enumerate(changes))
        assert len({key.public_bytes_raw() for key in keys}) == len(keys)
        assert key_in(vkey) in keys
        return cls(keys, changes, keys.index(key_in(vkey)))

    def require(self, files: dict[str, bytes], folder: str, log: Log, policies: list[tuple[int, str]]) -> int:
        """Check who signed a checkpoint, and that the log extends what each key signed last; gives the key's place."""
        note = files[f"{folder}checkpoint"]
        origin, size, _ = checkpoint_of(note)
        name = origin.rpartition("/")[2]
        place = self.place(origin, *note_of(note))
        for last_size, last_root in (change.last[name] for change in self.changes[:place] if name in change.last):
            assert root_of(log.hashes[:last_size]) == last_root
            assert last_size <= size
        assert place == len(self.changes) or size <= self.changes[place].last[name][0]
        if policies and policies[-1][1]:
            cosigned(note, policies[-1][1], 0)
        for change in self.changes[self.trusted : place]:
            if change.reason != "ROTATED":
                before = [policy for at, policy in policies if at < change.last["registry"][0]]
                assert before
                assert before[-1]
                cosigned(note, before[-1], 0)
        return place

    def place(self, origin: str, text: str, signatures: Sequence[NoteSignature]) -> int:
        """Which key signed."""
        for place in range(len(self.keys) - 1, -1, -1):
            with suppress(AssertionError):
                signed_by(self.keys[place], origin, text, signatures)
                return place
        raise AssertionError


@dataclass
class Change:
    """A change of the key: what the old one signed last of each log."""

    reason: str
    name: str
    old: Ed25519PublicKey
    new: Ed25519PublicKey
    last: dict[str, tuple[int, bytes]]

    @classmethod
    def of(cls, entry: dict[str, Any], files: dict[str, bytes]) -> Change:
        text, signatures = note_of(entry["note"].encode())
        title, reason, old, new, digest = text[:-1].split("\n")
        name = title.removesuffix("/key-change")
        assert title == f"{name}/key-change"
        assert reason in ("ROTATED", "LOST", "STOLEN")
        assert key_in(old) != key_in(new)
        signers = [old, new] if reason == "ROTATED" else [new]
        for vkey in signers:
            assert vkey.startswith(f"{name}+")
            signed_by(key_in(vkey), name, text, signatures)
        assert len(signatures) == len(signers)
        listed = files[f"registry/body/{entry['logs_sha256'][:2]}/{entry['logs_sha256']}"]
        assert base64.b64encode(sha256(listed).digest()).decode() == digest
        assert sha256(listed).hexdigest() == entry["logs_sha256"]
        said = [line.split(" ") for line in listed.decode().splitlines()]
        assert "".join(f"{' '.join(each)}\n" for each in said).encode() == listed
        assert [each[0] for each in said] == sorted({each[0] for each in said})
        assert all(re.fullmatch(ID, each[0]) for each in said)
        last = {log: (int(size), base64.b64decode(root, validate=True)) for log, size, root in said}
        assert all(re.fullmatch("0|[1-9][0-9]{0,18}", size) and int(size) < 2**63 for _, size, _ in said)
        assert all(
            len(root) == 32 and base64.b64encode(root).decode() == each[2]
            for (_, root), each in zip(last.values(), said, strict=True)
        )
        assert last["registry"][0] <= entry["index"]
        return cls(reason, name, key_in(old), key_in(new), last)


def key_in(vkey: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(vkey.split("+", 2)[2])[1:])


NoteSignature = tuple[str, bytes, bytes]
"""The name of a key, its id, and what it signed."""


def note_of(note: bytes) -> tuple[str, list[NoteSignature]]:
    """The text of a signed note, which nobody has verified yet, and its signatures."""
    assert len(note) <= 2**20
    assert not re.search(rb"[\x00-\x09\x0b-\x1f]", note)
    text, lines = note.decode().rsplit("\n\n", 1)
    assert lines.endswith("\n")
    signatures = []
    for line in lines[:-1].split("\n"):
        dash, name, encoded = line.split(" ")
        data = base64.b64decode(encoded, validate=True)
        assert base64.b64encode(data).decode() == encoded
        assert dash == "\u2014"
        assert len(data) > 4
        assert re.fullmatch(r"[^\s+]+", name)
        signatures.append((name, data[:4], data[4:]))
    assert len(signatures) <= 100
    return f"{text}\n", signatures


def checkpoint_of(note: bytes) -> tuple[str, int, bytes]:
    """Origin, size and root of a checkpoint."""
    origin, size, root, *extensions = note_of(note)[0][:-1].split("\n")
    assert all([origin, *extensions])
    assert re.fullmatch("0|[1-9][0-9]*", size)
    assert int(size) < 2**63
    assert root == base64.b64encode(base64.b64decode(root, validate=True)).decode()
    assert len(base64.b64decode(root)) == 32
    return origin, int(size), base64.b64decode(root)


def signed_by(key: Ed25519PublicKey, name: str, text: str, signatures: Sequence[NoteSignature]) -> None:
    """One signature of the key under this name is there; whoever else signed counts for nothing here."""
    key_id = sha256(name.encode() + b"\n\x01" + key.public_bytes_raw()).digest()[:4]
    found = [data for *signer, data in signatures if signer == [name, key_id]]
    for data in found:
        key.verify(data, text.encode())
    assert found


def root_of(hashes: Sequence[bytes]) -> bytes:
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1 << (len(hashes) - 1).bit_length() - 1
    return sha256(b"\x01" + root_of(hashes[:split]) + root_of(hashes[split:])).digest()


# 3. Entries.


def canonical(entry: bytes) -> dict[str, Any]:
    """What JSON in RFC 8785 form says: written again, it has the same bytes."""
    content: dict[str, Any] = json.loads(entry)
    assert rfc8785(content).encode() == entry
    return content


def rfc8785(value: Any, depth: int = 1) -> str:
    """A value in RFC 8785 form, with arrays and objects within each other up to the depth that the page allows."""
    if type(value) in (int, float):
        return rfc8785_number(float(value))
    if not isinstance(value, dict | list):
        return json.dumps(value, ensure_ascii=False)
    assert depth <= 100
    if isinstance(value, list):
        return f"[{','.join(rfc8785(each, depth + 1) for each in value)}]"
    names = sorted(value, key=lambda name: name.encode("utf-16-be"))
    return f"{{{','.join(f'{rfc8785(name)}:{rfc8785(value[name], depth + 1)}' for name in names)}}}"


def rfc8785_number(value: float) -> str:
    """As ECMAScript: as few digits as name the number, with an exponent below 1e-6 and from 1e+21 on."""
    assert value - value == 0  # it is neither infinite nor no number
    sign, digits, exponent = Decimal(repr(value)).normalize().as_tuple()
    assert isinstance(exponent, int)
    text, point = "".join(map(str, digits)), len(digits) + exponent
    minus = "-" * sign * (value != 0)
    if len(text) <= point <= 21:
        return minus + text + "0" * (point - len(text))
    if 0 < point <= 21:
        return f"{minus}{text[:point]}.{text[point:]}"
    if -6 < point <= 0:
        return f"{minus}0.{'0' * -point}{text}"
    return f"{minus}{text[0]}{'.' if text[1:] else ''}{text[1:]}e{point - 1:+}"


ID: Final = "[a-z]([a-z0-9-]{0,61}[a-z0-9])?"
SHOWN: Final = r"[^\x00-\x1f\x7f-\x9f\u200b\u2028-\u202e\u2060-\u2064\u2066-\u2069\ufeff]"
FORMS: Final[dict[str, str]] = {
    "id": ID, "hash": "[0-9a-f]{64}", "decimal": "0|-?[1-9][0-9]{0,4299}", "text": "(?s:.*)",
    "name": SHOWN + "{1,200}", "uri": rf"(?=.{{0,2000}}\Z)(https?://{SHOWN}*)?", "covers": SHOWN + "{0,1000}",
}  # fmt: skip
TOTALS: Final = "events number, attributed decimal, unattributed decimal"
POLICY: Final = (
    "fee_ppm number, commons_ppm number, fee_cap_minor amount or null, unattributed text, commons_rule text, "
    "tempering text, floor_minor amount, cap_minor amount or null, ai_only_ppm number, human_ai_ppm number, "
    "review_seconds number, rounding text, approval? text, period? text, period_from? text, recoup_ppm? number, "
    "public? boolean"
)
POLICY_TEXTS: Final = {
    "unattributed": ("COMMONS", "PRO_RATA"), "commons_rule": ("EQUAL", "PER_CAPITA", "EQUITY", "FUND"),
    "tempering": ("PROPORTIONAL", "SQRT", "EQUAL"), "rounding": ("CARRIED", "PLACED"), "approval": ("SILENCE",),
    "period": ("MONTH", "QUARTER", "YEAR"),
}  # fmt: skip
POLICY_RANGES: Final = (
    ("fee_ppm", 0, PPM), ("commons_ppm", 0, PPM), ("fee_cap_minor", 0, 10**15), ("floor_minor", 0, 10**15),
    ("cap_minor", 0, 10**15), ("ai_only_ppm", 0, 10 * PPM), ("human_ai_ppm", 0, 10 * PPM),
    ("review_seconds", 0, 366 * 86_400), ("recoup_ppm", 1, PPM),
)  # fmt: skip
CONTROLS: Final = "people number, terms number, weights number, money number, rounds number, registry number"
SEALED: Final = "collective id, request_id text, amount_minor amount, salt hash"
TYPES: Final = {
    "pool": "opened_at number, display_name text, currency text, policy policy, platforms ids, distribute text",
    "admission": "platform text, admitted boolean", "policy": "version number, policy policy",
    "method": "method id, version number, display_name name, confidence_ppm number, evidence_uri uri, covers? covers, "
    "score_kind? text, score_order? text, coverage_nano? number, sum_repeats? boolean, tolerance_nano? number, "
    "membership? id",
    "membership": "membership text, version number, body_sha256 hash, body_bytes number, sources number, "
    "collectives number",
    "id_scheme": "platform text, scheme text",
    "usage": "platform text, batch_id text, body_sha256 hash, body_bytes number, method text, method_version number, "
    "membership? text, membership_version? number, accepted number, duplicates text, ai_only totals, human_ai totals, "
    "id_scheme? text",
    "retraction": "platform text, request_id text, batch_leaf number, positions text, reason text, ai_only totals, "
    "human_ai totals",
    "report": "platform text, request_id text, period text, amount_minor amount, currency text, distribute text, "
    "payment_reference text, note text, income_minor? amount",
    "receipt": "salt hash, request_id text, amount_minor amount, platform text, payment_reference text, "
    "received_on text, note text",
    "match": "salt hash, request_id text, amount_minor amount, receipt number, platform text",
    "reversal": "salt hash, request_id text, amount_minor amount, reverses number, of text, platform text, "
    "distribute text, chargeback boolean, reason text",
    "round": "number number, previous number, start number, end number, policy_leaf number, policy_version number, "
    "events number, retracted number, statement_lines number, root hash, registry_root hash, registry_sha256 hash, "
    "statement_sha256 hash, weights_sha256 hash, salt_sha256 hash, statement_root hash, weight decimal, "
    "weight_unattributed decimal, deficit_unattributed decimal, pot_minor amount, fee_minor amount, "
    "attributed_minor amount, commons_minor amount, commons_kept_minor amount, carried_minor amount, "
    "rounding_minor amount, kept_after_nano number, request_id text, fire_times times or null, "
    "period? text, usage_from? number, late_events? number, late_retracted? number, late_minor? amount, "
    "waived? texts",
    "waiver": "platform text, period text, reason text",
    "tariff": "platform text, version number, period_from text, share_ppm number, rate_minor amount, "
    "rate_units number, minimum_minor amount",
    "decision": "subject number, subject_hash text, decision text, reason text",
    "objection": "round number, round_hash text, reason text",
    "answer": "round number, collective text, objection_hash text, answer text, reason text",
    "keychange": "note text, logs_sha256 hash",
    "proposal": "effect text, content object, rests_on object, reason text",
    "closing": "", "pause": "", "schedule": "cron text, time_zone text, paused boolean",
    "posting": "round number, transfer_count number, amount_minor amount, set_aside? texts, "
    "review_began_sha256? hash, review_ended_sha256? hash, recoup_ppm? number",
    "adjustment": "request_id text, round number, amount_minor amount, lines_sha256 hash, lines number, "
    "lines_root hash, pool_leaves numbers, registry_leaves numbers, source text, reason text, salt hash",
    "witnesses": "policy text",
    "split": "collective text, round number, rule text, round_hash hash, amount_minor amount, salt hash, "
    "lines number, split_root hash",
    "payment": f"{SEALED}, reference text", "release": f"{SEALED}, to_commons boolean, reason text",
    "grant": f"{SEALED}, reason text",
    "paying": "registry_size number, pay_run text, pay_run_leaf number, parts_sha256 hash",
    "booking": "registry_size number, bank_file_leaf number, bookings_sha256 hash, lines number, lines_root hash",
    "payee": "collective text, details_hash hash",
    "webhook": "webhook id, owner text, log text, origin text, types texts, start number, state text, "
    "details_hash hash",
    "contact": "principal text, contact_hash hash",
    "bankaccount": "bank_account text, display_name text, currency text, pools texts, opening_minor amount, "
    "details_hash hash",
    "payrun": "pay_run text, bank_account text, currency text, day text, payments number, amount_minor amount, "
    "plan_sha256 hash",
    "bankfile": "bank_account text, message text, message_id text, file_hash hash, day text, "
    "opening_minor amount or null, closing_minor amount or null, bookings_sha256 hash",
    "bankmatch": "bank_account text, line text, bookings_sha256 hash",
    "deployment": "origin text, controls controls, founders founders, keys_made_together boolean",
    "controls": "controls controls", "principal": "principal text, status text",
    "key": "key_id text, principal text, secret_hash text, expires_at? text, pools? texts, "
    "key_kind? text, issuer? text",
    "keyrevocation": "key_id text", "recovery": "operator text, key_id text, secret_hash text, people_leaf? number",
    "platform": "platform text, display_name text",
    "collective": "collective id, display_name name, members number, equity_ppm number, status text, "
    "domains_sha256 hash",
    "poolopened": "pool_id text, display_name text, currency text, policy object, platforms ids, distribute text",
}  # fmt: skip
NESTED: Final = {
    "totals": TOTALS, "policy": POLICY, "controls": CONTROLS, "times": "first text, last text, count number",
    "founder": "operator text, key_id text, secret_hash text",
}  # fmt: skip


def has_form(value: Any, form: str) -> None:
    """The value has this form; `or null` says that it may be null."""
    if form.endswith(" or null") and value is None:
        return
    form = form.removesuffix(" or null")
    if form in NESTED:
        has_fields(value, NESTED[form])
        if form == "policy":
            is_policy(value)
    elif form == "amount":
        has_form(value, "decimal")
        assert abs(int(value)) < 2**63
    elif form == "number":
        assert type(value) is int
        assert abs(value) < 2**53
    elif form in ("boolean", "object"):
        assert type(value) is {"boolean": bool, "object": dict}[form]
    elif form in ("ids", "texts", "founders", "numbers"):
        assert type(value) is list
        for each in value:
            has_form(each, form.removesuffix("s"))
    else:
        assert type(value) is str
        assert re.fullmatch(FORMS[form], value)


def is_policy(policy: dict[str, Any]) -> None:
    """What it says is in the ranges of the page's table."""
    for name, texts in POLICY_TEXTS.items():
        assert policy.get(name, texts[0]) in texts
    for name, least, most in POLICY_RANGES:
        assert policy.get(name) is None or least <= int(policy[name]) <= most
    assert policy["cap_minor"] is None or int(policy["cap_minor"]) >= int(policy["floor_minor"])
    assert "approval" not in policy or policy["review_seconds"] >= 259_200
    assert ("period" in policy) == ("period_from" in policy)
    if "period" in policy:
        first, end = months_of(policy["period_from"])
        assert first >= 12 * 1970
        assert end - first == {"MONTH": 1, "QUARTER": 3, "YEAR": 12}[policy["period"]]
    assert policy.get("public", True)


def has_fields(value: Any, fields: str) -> None:
    """An object with just these fields."""
    assert type(value) is dict
    rest = dict(value)
    for field_form in filter(None, fields.split(", ")):
        name, _, form = field_form.partition(" ")
        if name.endswith("?") and name[:-1] not in rest:
            continue
        said = rest.pop(name.removesuffix("?"))
        assert not name.endswith("?") or said or (type(said) is int and form == "number")
        has_form(said, form)
    assert not rest


def is_sound(entry: dict[str, Any]) -> None:
    """The entry has just the fields of its type, in their forms."""
    kind = entry["type"].removesuffix(".v1")
    assert entry["type"] == f"{kind}.v1"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z", entry["time"])
    datetime.fromisoformat(entry["time"])
    envelope = "type text, pool text, index number, time text"
    stamp = ", by text, by_key text, registry_size number, people_leaf? number, proposal? number"
    stamp = stamp if entry["type"] in ACTS else ""
    own = TYPES[kind]
    assert entry.get("people_leaf") != 0
    has_fields(entry, envelope + stamp + (f", {own}" if own else ""))
    if kind in ("report", "receipt", "match", "reversal", "payment", "release", "grant"):
        assert 1 <= int(entry["amount_minor"]) <= 10**15


def positions_of(text: str) -> list[int]:
    bitmap = base64.b64decode(text, validate=True)
    assert not bitmap or bitmap[-1]
    return [8 * at + bit for at, byte in enumerate(bitmap) for bit in range(8) if byte >> bit & 1]


# 4. Bodies.


@dataclass
class Event:
    id: bytes
    month: int
    """Of UTC, counted from year 0."""
    units: int
    mode: int
    parts: dict[str, int]
    """Shares by collective."""
    scores: list[tuple[str, float]]
    """Each with its source, where the batch has these instead; they become `parts`."""


def months_of(period: str) -> tuple[int, int]:
    """Its first month and the one after it, counted from year 0."""
    year, _, part = period.partition("-")
    first, length = 12 * int(year), 12
    if part.startswith("Q"):
        first, length = first + 3 * (int(part[1:]) - 1), 3
    elif part:
        first, length = first + int(part) - 1, 1
    assert name_of(first, length) == period
    return first, first + length


def name_of(first: int, length: int) -> str:
    year, month = divmod(first, 12)
    return {1: f"{year:04}-{month + 1:02}", 3: f"{year:04}-Q{month // 3 + 1}", 12: f"{year:04}"}[length]


def batch_of(body: bytes) -> list[Event]:
    source = pa.BufferReader(body)
    read = pa.ipc.open_stream(source).read_all()
    read.validate(full=True)
    assert source.tell() == len(body)
    table = read.to_pylist()
    names, amount = ("collectives", "share") if "collectives" in table[0] else ("sources", "score")
    events = []
    for row in table:
        amounts = row.get(f"{amount}s")
        if amounts is None:
            pairs = [(each["id"], each[amount]) for each in row[names]]
        else:
            pairs = list(zip(row[names], amounts, strict=True))
        month = 12 * row["occurred_at"].year + row["occurred_at"].month - 1
        event = Event(row["event_id"], month, row["units"], row["mode"], {}, pairs)
        assert 1 <= event.units <= NANO
        assert event.mode in (1, 2)
        if names == "collectives":
            event.parts, event.scores = {name: int(share) for name, share in event.scores}, []
            assert len(event.parts) == len(row[names])
            assert all(share >= 1 for share in event.parts.values())
            assert sum(event.parts.values()) <= NANO
        events.append(event)
    return events


def amounts_fit(value: Any) -> Any:
    """The document of a body, in which every amount is a decimal in its range."""
    if isinstance(value, dict):
        for name, said in value.items():
            if name.endswith("_minor"):
                has_form(said, "amount")
            amounts_fit(said)
    elif isinstance(value, list):
        for each in value:
            amounts_fit(each)
    return value


def csv_of(body: bytes, header: str) -> list[list[str]]:
    first, *lines = body.decode().removesuffix("\n").split("\n")
    assert first == header
    return [line.split(",") for line in lines]


# 5. Scores become shares.


def shares_of(
    scores: list[tuple[str, float]], method: dict[str, Any], membership: dict[str, str] | None
) -> dict[str, int]:
    kind = method["score_kind"]
    assert kind == "COUNT" or method.get("sum_repeats") or len({source for source, _ in scores}) == len(scores)
    if kind == "SHARE":
        integers = [(source, round(score * 1e15) // 1000) for source, score in scores]
        assert sum(integer for _, integer in integers) <= 10**12 + 1000 * method["tolerance_nano"]
    else:
        largest = max((abs(score) for _, score in scores), default=0.0)
        scale = Fraction(2) ** (40 - frexp(largest)[1])
        integers = [(source, round(Fraction(score) * scale)) for source, score in scores]
    if method["score_order"] == "CLIP_THEN_SUM":
        integers = [(source, max(0, integer)) for source, integer in integers]
    sums: dict[str, int] = defaultdict(int)
    for source, integer in integers:
        sums[source if membership is None else membership.get(source, "")] += integer
    sums = {collective: total for collective, total in sums.items() if total > 0}
    whole = sum(sums.values())
    if kind == "SHARE":
        whole = max(whole, 10**12)
    shares = {name: method["coverage_nano"] * part // whole for name, part in sums.items() if name}
    return {name: share for name, share in shares.items() if share}


# 6. Who acted.


def cosigned(note: bytes, policy: str, since: int) -> tuple[str, int, bytes, int]:
    """Origin, size and root of a checkpoint, and when its quorum was met by cosignatures from a time on."""
    origin, size, root = checkpoint_of(note)
    text, signatures = note_of(note)
    keys, groups, quorum = dict[str, str](), dict[str, tuple[int, list[str]]](), ""
    for words in (line.split() for line in policy.splitlines() if line.strip() and not line.startswith("#")):
        if words[0] == "witness":
            keys[words[1]] = words[2]
        elif words[0] == "group":
            number = {"any": 1, "all": len(words) - 3}.get(words[2]) or int(words[2])
            groups[words[1]] = (number, words[3:])
        elif words[0] == "quorum":
            quorum = words[1]
    signed = set()
    for name, signer_id, data in signatures:
        for witness, (key_name, key_id, public) in ((witness, key.split("+", 2)) for witness, key in keys.items()):
            if (key_name, bytes.fromhex(key_id)) == (name, signer_id):
                time = int.from_bytes(data[:8], "big")
                message = f"cosignature/v1\ntime {time}\n{text}".encode()
                Ed25519PublicKey.from_public_bytes(base64.b64decode(public)[1:]).verify(data[8:], message)
                signed.add((time, witness))
    have: set[str] = set()
    for time, witness in sorted(signed):
        have |= {witness} if time >= since else set()
        met = set(have)
        for name, (number, members) in groups.items():
            met |= {name} if sum(member in met for member in members) >= number else set()
        if quorum in met:
            return origin, size, root, time
    raise AssertionError("no quorum")


KINDS: Final = {
    "controls.v1": "people", "witnesses.v1": "terms", "principal.v1": "people", "platform.v1": "weights",
    "collective.v1": "weights", "payee.v1": "weights", "contact.v1": "registry",
    "poolopened.v1": "terms", "policy.v1": "terms", "method.v1": "terms", "membership.v1": "terms",
    "schedule.v1": "terms", "closing.v1": "terms", "admission.v1": "weights", "waiver.v1": "terms",
    "tariff.v1": "terms",
    "payment.v1": "money", "release.v1": "money", "grant.v1": "money",
    "receipt.v1": "money", "match.v1": "money", "reversal.v1": "money", "adjustment.v1": "money",
    "bankaccount.v1": "money", "payrun.v1": "money", "bankfile.v1": "money", "bankmatch.v1": "money",
    "round.v1": "rounds", "webhook.v1": "registry",
}  # fmt: skip
ACTS: Final = {
    *KINDS, "key.v1", "keyrevocation.v1", "pool.v1", "pause.v1", "proposal.v1", "decision.v1",
    "objection.v1", "answer.v1", "split.v1",
}  # fmt: skip
BANK_SAYS: Final = {
    "PAID": ("PAYING", "REJECTED"), "REJECTED": ("PAYING",), "UNPAID": ("REJECTED",), "RETURNED": ("PAID",)
}  # fmt: skip


def is_domain(text: str) -> bool:
    if text.startswith("content-id:"):
        rest = text.removeprefix("content-id:")
        return 1 <= len(rest.encode()) <= 256 and not re.search("[\x00-\x20\x7f-\xa0\u2028\u2029]", rest)
    labels = text.split(".")
    return (
        len(text) <= 253 and all(re.fullmatch("[a-z0-9_-]{1,63}", each) for each in labels) and not labels[-1].isdigit()
    )


def take_back(line: list[Any], booking: dict[str, Any]) -> None:
    for taken in booking["pools"]:
        part = next(part for part in line[1] if part[:2] == [taken["pool"], booking["subject"]])
        part[2] -= int(taken["amount_minor"])
        assert part[2] >= 0
    line[0] -= int(booking["amount_minor"])
    line[1] = [part for part in line[1] if part[2]]


STAMP: Final = ("by", "by_key", "registry_size", "people_leaf", "proposal")


@dataclass
class Registry:
    """The registry's log, taken in as far as it was asked for."""

    entries: list[dict[str, Any]]
    hashes: list[bytes]
    files: dict[str, bytes]
    size: int = 0
    about_operators: int = 0
    """The last leaf about operators, their keys, the controls or the witnesses."""
    controls: dict[str, int] = field(default_factory=dict)
    persons: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    collectives: dict[str, dict[str, Any]] = field(default_factory=dict)
    platforms: set[str] = field(default_factory=set)
    pools: dict[str, dict[str, Any]] = field(default_factory=dict)
    timing: str = ""
    """The policy of the witnesses by whom reviews are timed."""
    origin: str = ""
    signs: Ed25519PublicKey | None = None
    payees: dict[str, dict[str, Any]] = field(default_factory=dict)
    accounts: dict[str, dict[str, Any]] = field(default_factory=dict)
    webhooks: dict[str, dict[str, Any]] = field(default_factory=dict)
    runs: dict[str, tuple[dict[str, Any], dict[str, Any]]] = field(default_factory=dict)
    said: dict[str, str] = field(default_factory=dict)
    closing: dict[str, int] = field(default_factory=dict)
    messages: set[tuple[str, ...]] = field(default_factory=set)
    statements: dict[int, list[dict[str, Any]]] = field(default_factory=dict)
    lines: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    acts: Acts = field(init=False)

    def __post_init__(self) -> None:
        self.acts = Acts(self, self.hashes, of_registry=True)

    def upto(self, size: int) -> None:
        assert self.size <= size <= len(self.entries)
        while self.size < size:
            entry = self.entries[self.size]
            assert (entry["type"] == "deployment.v1") == (self.size == 0)
            self.acts.take(entry)
            taken = entry["type"].removesuffix(".v1")
            getattr(self, "changed" if taken == "controls" else taken)(entry)
            who = entry.get("principal", self.keys.get(entry.get("key_id", ""), {}).get("principal", ""))
            if taken in ("deployment", "controls", "witnesses", "recovery") or (
                taken in ("principal", "key", "keyrevocation") and who.startswith("operators/")
            ):
                self.about_operators = self.size
            self.size += 1

    def snapshot(self) -> str:
        rows = [
            f"{name},{said['status']},{said['members']},{said['equity_ppm']}"
            for name, said in sorted(self.collectives.items())
        ]
        return "\n".join(["collective,status,members,equity_ppm", *rows]) + "\n"

    def deployment(self, entry: dict[str, Any]) -> None:
        assert self.files["registry/checkpoint"].decode().startswith(f"{entry['origin']}/registry\n")
        self.controls, self.origin = entry["controls"], entry["origin"]
        are_sound(entry["controls"])
        assert len({founder["operator"] for founder in entry["founders"]}) >= max(self.controls.values())
        for founder in entry["founders"]:
            self.person(founder["operator"], entry, alone=False)
            self.issued(founder["key_id"], founder["operator"], entry, alone=False)

    def person(self, name: str, entry: dict[str, Any], *, alone: bool, status: str = "ACTIVE") -> None:
        assert re.fullmatch(r"(operators|auditors)/[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name)
        known = self.persons.setdefault(name, {"since": entry["index"], "alone": alone})
        known["status"] = status

    def issued(self, key_id: str, principal: str, entry: dict[str, Any], *, alone: bool, **bounds: Any) -> None:
        assert key_id not in self.keys
        self.keys[key_id] = {"principal": principal, "since": entry["index"], "alone": alone, **bounds}

    def was_alone(self, made: dict[str, Any]) -> bool:
        person, key = self.persons.get(made["by"]), self.keys.get(made["by_key"])
        return bool(person and key and "begins" not in key and (person["alone"] or key["alone"]))

    def principal(self, entry: dict[str, Any]) -> None:
        self.person(entry["principal"], entry, alone=self.controls["people"] == 1, status=entry["status"])

    def key(self, entry: dict[str, Any]) -> None:
        collection, _, name = entry["principal"].partition("/")
        registered = {"platforms": self.platforms, "collectives": self.collectives}.get(collection)
        assert entry["principal"] in self.persons if registered is None else name in registered
        bounds = {"pools": entry.get("pools", []), "ends": entry.get("expires_at", "")}
        alone = self.controls["people"] == 1 and (entry["by"] != entry["principal"] or self.was_alone(entry))
        kind = entry.get("key_kind", "SECRET")
        assert kind in ("SECRET", "IDENTITY", "CERTIFICATE")
        assert ("issuer" in entry) == (kind == "IDENTITY")
        if kind != "SECRET":
            bounds["bound"] = entry["secret_hash"]
            taken = [each for each in self.keys.values() if each.get("bound") == entry["secret_hash"]]
            assert all("revoked" in each for each in taken)
        self.issued(entry["key_id"], entry["principal"], entry, alone=alone, **bounds)

    def witnesses(self, entry: dict[str, Any]) -> None:
        self.timing = entry["policy"]

    def keychange(self, entry: dict[str, Any]) -> None:
        change = Change.of(entry, self.files)
        assert change.name == self.origin
        assert self.signs in (None, change.old)
        size, root = change.last["registry"]
        assert root_of(self.hashes[:size]) == root
        self.signs = change.new

    def keyrevocation(self, entry: dict[str, Any]) -> None:
        self.keys[entry["key_id"]]["revoked"] = True

    def recovery(self, entry: dict[str, Any]) -> None:
        assert entry.get("people_leaf", 0) == self.about_operators
        if entry["operator"] not in self.persons:
            self.person(entry["operator"], entry, alone=True)
        begins = datetime.fromisoformat(entry["time"]) + timedelta(days=7)
        self.issued(entry["key_id"], entry["operator"], entry, alone=True, begins=begins)

    def platform(self, entry: dict[str, Any]) -> None:
        assert entry["platform"] not in self.platforms
        self.platforms.add(entry["platform"])

    def collective(self, entry: dict[str, Any]) -> None:
        digest = entry["domains_sha256"]
        body = self.files[f"registry/body/{digest[:2]}/{digest}"]
        assert sha256(body).hexdigest() == digest
        lines = body.decode().split("\n")[:-1]
        assert "".join(f"{line}\n" for line in sorted(set(lines))).encode() == body
        assert len(lines) <= 1_000
        assert all(is_domain(line) for line in lines)
        self.collectives[entry["collective"]] = {**entry, "domains": lines}
        owned = [domain for said in self.collectives.values() for domain in said["domains"]]
        assert len(owned) == len(set(owned))

    def payee(self, entry: dict[str, Any]) -> None:
        assert entry["collective"] in self.collectives
        assert re.fullmatch("[0-9a-f]{64}", entry["details_hash"])
        self.payees[entry["collective"]] = entry

    def webhook(self, entry: dict[str, Any]) -> None:
        name, owner, log = entry["webhook"], entry["owner"], entry["log"]
        collection, _, identity = owner.partition("/")
        registered = {"platforms": self.platforms, "collectives": self.collectives}.get(collection)
        assert owner in self.persons if registered is None else identity in registered
        assert log.removeprefix("pools/") in self.pools if log != "registry" else registered is None
        assert entry["types"] == sorted(set(entry["types"]))
        assert entry["start"] >= 0
        assert entry["state"] in ("ACTIVE", "PAUSED", "REMOVED")
        before = self.webhooks.setdefault(name, entry)
        assert before["state"] != "REMOVED"
        assert before is not entry or entry["state"] == "ACTIVE"
        assert all(before[field] == entry[field] for field in ("owner", "log", "origin", "types", "start"))
        self.webhooks[name] = entry

    def contact(self, entry: dict[str, Any]) -> None:
        collection, _, name = entry["principal"].partition("/")
        registered = {"platforms": self.platforms, "collectives": self.collectives}.get(collection)
        assert entry["principal"] in self.persons if registered is None else name in registered

    def body(self, digest: str) -> dict[str, Any]:
        body = self.files[f"registry/body/{digest[:2]}/{digest}"]
        assert sha256(body).hexdigest() == digest
        return cast("dict[str, Any]", amounts_fit(canonical(body)))

    def bankaccount(self, entry: dict[str, Any]) -> None:
        name, pools = entry["bank_account"], entry["pools"]
        assert pools == sorted(set(pools))
        before = self.accounts.get(name)
        assert before is None or {*before["pools"]} <= {*pools}
        assert all(not {*pools} & {*each["pools"]} for other, each in self.accounts.items() if other != name)
        self.accounts[name] = entry
        self.closing.setdefault(name, int(entry["opening_minor"]))

    def payrun(self, entry: dict[str, Any]) -> None:
        plan, time = self.body(entry["plan_sha256"]), datetime.fromisoformat(entry["time"])
        assert entry["pay_run"] not in self.runs
        assert entry["currency"] == self.accounts[entry["bank_account"]]["currency"]
        for place, payment in enumerate(plan["payments"], 1):
            assert payment["end_to_end_id"] == f"{entry['pay_run']}-{place:07d}"
            payee = self.payees[payment["collective"]]
            assert payee["index"] == payment["payee"]
            assert time - datetime.fromisoformat(payee["time"]) >= timedelta(days=3)
            self.said[payment["end_to_end_id"]] = "PAYING"
        amounts = [int(part["amount_minor"]) for payment in plan["payments"] for part in payment["pools"]]
        assert (len(plan["payments"]), sum(amounts)) == (entry["payments"], int(entry["amount_minor"]))
        self.runs[entry["pay_run"]] = (entry, plan)

    def bankfile(self, entry: dict[str, Any]) -> None:
        bookings, moved = self.body(entry["bookings_sha256"])["bookings"], 0
        for booking in bookings:
            kind, amount, identity = booking["kind"], int(booking["amount_minor"]), booking["end_to_end_id"]
            whole = sum(int(part["amount_minor"]) for part in booking["pools"])
            if kind in BANK_SAYS:
                assert self.said[identity] in BANK_SAYS[kind]
                self.said[identity] = kind
            assert kind != "PAID" or amount == whole
            assert kind != "RETURNED" or 0 < amount <= whole
            assert kind != "FREED"
            assert kind not in ("UNKNOWN", "NOTIFIED") or not booking["pools"]
            moved += {"PAID": -amount, "CHARGE": -amount, "TAKEN_BACK": -amount, "REJECTED": 0, "UNPAID": 0}.get(
                kind, amount
            )
        message = (entry["bank_account"], entry["message"], entry["message_id"])
        assert message not in self.messages
        self.messages.add(message)
        if entry["closing_minor"] is None:
            told = "NOTIFIED" if entry["message"] == "camt.054.001.08" else "REJECTED"
            assert {booking["kind"] for booking in bookings} <= {told}
            return
        assert all(booking["kind"] != "NOTIFIED" for booking in bookings)
        assert int(entry["opening_minor"]) == self.closing[entry["bank_account"]]
        assert int(entry["closing_minor"]) == int(entry["opening_minor"]) + moved
        self.closing[entry["bank_account"]] = int(entry["closing_minor"])
        self.statements[entry["index"]] = bookings
        lines = self.lines.setdefault(entry["bank_account"], {})
        for place, booking in enumerate(bookings):
            amount = int(booking["amount_minor"])
            if booking["kind"] in ("RECEIVED", "UNMATCHED", "UNKNOWN"):
                parts = [[part["pool"], booking["subject"], int(part["amount_minor"])] for part in booking["pools"]]
                lines[f"{entry['index']}-{place}"] = [amount, parts]
            elif booking["kind"] == "TAKEN_BACK":
                name = booking["line"]
                take_back(lines[f"{entry['index']}{name}" if name[0] == "-" else name], booking)

    def bankmatch(self, entry: dict[str, Any]) -> None:
        bookings = self.body(entry["bookings_sha256"])["bookings"]
        lines = self.lines[entry["bank_account"]]
        line = lines[entry["line"]]
        assert bookings
        assert line[0]
        if line[0] < 0:
            assert sum(int(booking["amount_minor"]) for booking in bookings) == -line[0]
            for booking in bookings:
                assert booking["kind"] in ("TAKEN_BACK", "CHARGE", "PAID")
                if booking["kind"] == "PAID":
                    assert self.said[booking["end_to_end_id"]] in BANK_SAYS["PAID"]
                    self.said[booking["end_to_end_id"]] = "PAID"
                    whole = sum(int(part["amount_minor"]) for part in booking["pools"])
                    assert whole == int(booking["amount_minor"])
                if booking["kind"] == "TAKEN_BACK":
                    take_back(lines[booking["line"]], booking)
            line[0] = 0
        else:
            freed = [booking for booking in bookings if booking["kind"] == "FREED"]
            made = bookings[len(freed) :]
            amount_of = [
                [booking["pools"][0]["pool"], booking["subject"], int(booking["amount_minor"])] for booking in bookings
            ]
            assert amount_of[: len(freed)] == line[1]
            assert all(booking["kind"] == ("RECEIVED" if booking["subject"] else "UNMATCHED") for booking in made)
            line[1] = amount_of[len(freed) :]
            assert line[0] == sum(part[2] for part in line[1])
        assert {part["pool"] for booking in bookings for part in booking["pools"]} <= {
            *self.accounts[entry["bank_account"]]["pools"]
        }
        self.statements[entry["index"]] = bookings

    def poolopened(self, entry: dict[str, Any]) -> None:
        assert entry["pool_id"] not in self.pools
        assert entry["platforms"] == sorted(set(entry["platforms"]) & self.platforms)
        self.pools[entry["pool_id"]] = entry

    def proposal(self, entry: dict[str, Any]) -> None:
        """It changes nothing."""

    def decision(self, entry: dict[str, Any]) -> None:
        """It changes nothing."""

    def changed(self, entry: dict[str, Any]) -> None:
        self.controls = entry["controls"]


@dataclass
class Acts:
    """Who did what in one log."""

    registry: Registry
    hashes: list[bytes]
    of_registry: bool = False
    pool: str = ""
    waiting: dict[int, dict[str, Any]] = field(default_factory=dict)
    """Proposals and rounds, by leaf."""
    approval: dict[str, Any] | None = None
    last: dict[str, Any] | None = None
    judged_by: int = 0
    timed: dict[int, str] = field(default_factory=dict)
    """By a round's leaf: the policy of the witnesses by whom its review is timed."""
    alone: int = 0
    """Acts that one person did alone."""

    def take(self, entry: dict[str, Any]) -> None:
        if self.last is not None:
            assert datetime.fromisoformat(self.last["time"]) <= datetime.fromisoformat(entry["time"])
        self.last, due, self.approval = entry, self.approval, None
        assert due is None or entry.get("proposal") == due["subject"]
        if entry["type"] not in ACTS:
            return
        self.fresh(entry)
        kind = entry["type"].removesuffix(".v1")
        if kind not in ("decision", "round"):
            self.may(entry)
        if kind == "decision":
            self.decide(entry)
        elif kind in ("proposal", "round"):
            assert kind != "round" or (entry["by"] == "scheduler") == (entry["fire_times"] is not None)
            if kind == "round" and entry["by"] == "scheduler":
                assert not entry["by_key"]
            else:
                self.may(entry)
            self.waiting[entry["index"]] = entry
            self.timed[entry["index"]] = self.registry.timing if kind == "round" else ""
        elif kind == "answer":
            (round_,) = [each for each in self.waiting.values() if each.get("number") == entry["round"]]
            suffices = round_["by"] == "scheduler" or self.registry.controls["rounds"] == 1
            assert suffices or self.is_second(entry, round_)
        elif kind == "pool":
            self.opened(entry)
        elif kind in ("objection", "split"):
            pass
        else:
            self.effect(entry, due)

    def fresh(self, entry: dict[str, Any]) -> None:
        size = entry["registry_size"]
        if self.of_registry:
            assert size == entry["index"] - ("proposal" in entry)
            assert entry.get("people_leaf", 0) == self.registry.about_operators
            return
        assert 1 <= size >= self.judged_by
        self.judged_by = size
        self.registry.upto(size)
        assert entry.get("people_leaf", 0) == self.registry.about_operators
        minute, time = timedelta(minutes=1), datetime.fromisoformat(entry["time"])
        assert datetime.fromisoformat(self.registry.entries[size - 1]["time"]) <= time
        if size < len(self.registry.entries):
            assert time - datetime.fromisoformat(self.registry.entries[size]["time"]) <= minute

    def may(self, entry: dict[str, Any]) -> None:
        key = self.registry.keys[entry["by_key"]]
        if entry["type"] in ("objection.v1", "split.v1"):
            assert entry["by"].startswith("collectives/")
        elif entry["by"] not in (self.own_of(entry), self.owner_of(entry)):
            assert entry["by"].startswith("operators/")
            assert self.registry.persons[entry["by"]]["status"] == "ACTIVE"
        assert key["principal"] == entry["by"]
        assert "revoked" not in key
        time = datetime.fromisoformat(entry["time"])
        assert "begins" not in key or time >= key["begins"]
        assert not key.get("ends") or time < datetime.fromisoformat(key["ends"])
        assert not key.get("pools") or (not self.of_registry and self.pool in key["pools"])

    @staticmethod
    def own_of(entry: dict[str, Any]) -> str | None:
        """Whose account or contact an entry sets or proposes."""
        if entry["type"] == "contact.v1":
            return str(entry["principal"]) if entry["principal"].startswith("collectives/") else None
        said = entry["content"] if entry.get("effect") == "payee.v1" else entry
        return f"collectives/{said['collective']}" if "payee.v1" in (entry["type"], entry.get("effect")) else None

    @staticmethod
    def owner_of(entry: dict[str, Any]) -> str | None:
        """The platform or the collective whose webhook an entry sets or proposes."""
        said = entry["content"] if entry.get("effect") == "webhook.v1" else entry
        owner = said["owner"] if "webhook.v1" in (entry["type"], entry.get("effect")) else ""
        return owner if owner.startswith(("platforms/", "collectives/")) else None

    def is_second(self, decision: dict[str, Any], first: dict[str, Any]) -> bool:
        person, key = self.registry.persons[decision["by"]], self.registry.keys[decision["by_key"]]
        recovered_later = "begins" in key and key["since"] >= first["registry_size"]
        known = person["since"] < first["registry_size"] and not recovered_later
        if person["alone"] or key["alone"] or self.registry.was_alone(first):
            return False
        return bool(decision["by"] != first["by"] and known)

    def needed(self, entry: dict[str, Any]) -> int:
        controls = self.registry.controls
        if entry["type"] == "key.v1":
            people = entry["principal"].startswith(("operators/", "auditors/"))
            return int(controls["people" if people else "weights"])
        if entry["type"] == "webhook.v1":
            return controls["registry"] if entry["state"] == "ACTIVE" else 1
        if entry["by"].startswith("collectives/"):
            return 1 if entry["type"] == "contact.v1" else 2
        if entry["type"] == "controls.v1":
            return int(max(controls["people"], entry["controls"]["people"]))
        if entry["type"] == "poolopened.v1" and entry["platforms"]:
            return int(max(controls["terms"], controls["weights"]))
        return controls[KINDS[entry["type"]]] if entry["type"] in KINDS else 1

    def decide(self, entry: dict[str, Any]) -> None:
        subject = self.waiting.pop(entry["subject"])
        assert entry["subject_hash"] == self.hashes[entry["subject"]].hex()
        assert entry["decision"] in ("APPROVED", "REJECTED", "WITHDRAWN")
        is_round, approves = subject["type"] == "round.v1", entry["decision"] == "APPROVED"
        if entry["by"] == "ledger":
            assert is_round
            assert entry["decision"] == "REJECTED"
            return
        if entry["by"] == "policy":
            assert is_round
            assert approves
            assert self.registry.controls["rounds"] == 1 or subject["by"] == "scheduler"
            self.alone += subject["by"] != "scheduler"
            return
        self.may(entry)
        assert entry["decision"] != "WITHDRAWN" or entry["by"] == subject["by"]
        if is_round and approves and subject["by"] != "scheduler":
            assert self.is_second(entry, subject) or self.registry.controls["rounds"] == 1
            self.alone += not self.is_second(entry, subject)
        elif not is_round and approves:
            age = datetime.fromisoformat(entry["time"]) - datetime.fromisoformat(subject["time"])
            assert age <= timedelta(days=30)
            self.approval = {**entry, "proposed": subject}

    def effect(self, entry: dict[str, Any], due: dict[str, Any] | None) -> None:
        if entry["type"] == "controls.v1":
            are_sound(entry["controls"])
        self.enough_left(entry)
        if entry["type"] in ("policy.v1", "poolopened.v1"):
            assert entry["policy"]["review_seconds"] or self.registry.controls["rounds"] == 1
        if due is None:
            assert "proposal" not in entry
            assert self.needed(entry) == 1
            self.alone += 1
            return
        first, envelope = due["proposed"], ("type", "pool", "index", "time")
        said = {name: value for name, value in entry.items() if name not in (*STAMP, *envelope)}
        assert (first["effect"], spelled(first["content"])) == (entry["type"], spelled(said))
        assert (first["by"], first["by_key"]) == (entry["by"], entry["by_key"])
        assert self.needed(entry) == 1 or self.is_second(due, first)
        self.alone += not self.is_second(due, first)

    def enough_left(self, entry: dict[str, Any]) -> None:
        controls = entry["controls"] if entry["type"] == "controls.v1" else self.registry.controls
        left = {
            name
            for name, person in self.registry.persons.items()
            if name.startswith("operators/") and person["status"] == "ACTIVE" and not person["alone"]
        }
        if entry["type"] == "principal.v1" and entry["status"] != "ACTIVE":
            left -= {entry["principal"]}
        assert max(controls.values()) == 1 or len(left) > 1

    def opened(self, entry: dict[str, Any]) -> None:
        said = self.registry.pools[entry["pool"]]
        assert (entry["opened_at"], entry["registry_size"]) == (said["index"], said["index"] + 1)
        for name in ("display_name", "currency", "distribute", "policy", "platforms", "by", "by_key"):
            assert spelled(entry[name]) == spelled(said[name])


def spelled(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def are_sound(controls: dict[str, int]) -> None:
    assert all(count in (1, 2) and count <= controls["people"] for count in controls.values())


# 7. The fold.


@dataclass
class Weights:
    """What is under one key: events, retracted, unattributed, and by collective weight and events."""

    events: int = 0
    retracted: int = 0
    unattributed: int = 0
    weight: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    counts: dict[str, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, event: Event, sign: int) -> None:
        self.events += sign > 0
        self.retracted += sign < 0
        self.unattributed += sign * event.units * (NANO - sum(event.parts.values()))
        for name, share in event.parts.items():
            self.weight[name] += sign * event.units * share
            self.counts[name] += sign


@dataclass
class Fold:
    files: dict[str, bytes]
    hashes: list[bytes]
    entries: list[dict[str, Any]]
    registry: Registry
    acts: Acts
    policies: list[tuple[int, int, dict[str, Any]]] = field(default_factory=list)
    methods: dict[tuple[str, int], dict[str, Any]] = field(default_factory=dict)
    memberships: dict[tuple[str, int], dict[str, str]] = field(default_factory=dict)
    id_schemes: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    admitted: set[str] = field(default_factory=set)
    """The platforms that may report."""
    balances: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    in_run: dict[str, int] = field(default_factory=dict)
    journal: list[str] = field(default_factory=list)
    changes: list[tuple[int, Key, Event, int]] = field(default_factory=list)
    """(leaf, key, event, sign): what was weighed so far."""
    accepted: dict[int, list[int]] = field(default_factory=dict)
    retracted: dict[int, set[int]] = field(default_factory=lambda: defaultdict(set))
    seen: set[tuple[str, bytes]] = field(default_factory=set)
    once: set[tuple[str, ...]] = field(default_factory=set)
    """Batches and requests, each of which there is once."""
    rounds: list[dict[str, Any]] = field(default_factory=list)
    times: dict[int, datetime] = field(default_factory=dict)
    objections: dict[tuple[int, str], int] = field(default_factory=dict)
    """By round and collective: the objection's leaf."""
    answers: dict[tuple[int, str], str] = field(default_factory=dict)
    posted: set[int] = field(default_factory=set)
    splits: set[tuple[int, str]] = field(default_factory=set)
    """By round and collective."""
    state: str = ""
    """Of the last round: CALCULATED, APPROVED, REJECTED or POSTED."""
    posted_end: int = 0
    posted_number: int = 0
    deficits: dict[str, int] = field(default_factory=dict)
    deficit_unattributed: int = 0
    carried: dict[str, tuple[int, int]] = field(default_factory=dict)
    """Fractions of the attributed and of the commons part, in nano-minor units."""
    kept_carried: int = 0
    scheduled: tuple[str, str] | None = None
    paused: bool = False
    fired_until: datetime | None = None
    all_taken: int = 0
    """Where the last posted round without a period ended."""
    reported: dict[int, int] = field(default_factory=dict)
    """Of each report: the month after its period; 0 without."""
    waived: set[tuple[str, str]] = field(default_factory=set)
    tariffs: Counter[str] = field(default_factory=Counter)
    adjusted: dict[int, dict[str, int]] = field(default_factory=dict)
    """By round and account, what it gets by the last adjustment."""
    left: dict[int, list[Any]] = field(default_factory=dict)
    """Of each report and receipt: whose it is, and what of it is not reversed."""
    totals: dict[str, dict[str, Any]] = field(default_factory=dict)
    figures: dict[str, dict[str, Any]] = field(default_factory=dict)

    def run(self) -> None:
        for index, entry in enumerate(self.entries):
            for later in self.entries[index:]:
                if later["type"] == "round.v1" and later["end"] == index:
                    self.round(later)
            self.says_once(entry)
            self.acts.take(entry)
            self.times[index] = datetime.fromisoformat(entry["time"])
            getattr(self, entry["type"].removesuffix(".v1"))(entry)
            below = ("platform/", "owing/", "revenue", "outside", "costs")
            assert all(amount >= 0 or account.startswith(below) for account, amount in self.balances.items())
            if self.state == "CALCULATED":
                bank_took = entry["type"] == "booking.v1" or (entry["type"] == "reversal.v1" and entry["chargeback"])
                assert bank_took or self.covered()

    def says_once(self, entry: dict[str, Any]) -> None:
        kind, platform = entry["type"], entry.get("platform", "")
        identity: tuple[str, ...] = (kind, platform, entry.get("batch_id", entry.get("request_id", "")))
        if kind == "retraction.v1":
            identity = (*identity, str(entry["batch_leaf"]))
        elif kind in ("payment.v1", "release.v1", "grant.v1", "receipt.v1", "match.v1", "reversal.v1"):
            identity = ("movement", identity[2])
        if "batch_id" in entry or "request_id" in entry:
            assert identity not in self.once
            self.once.add(identity)

    def latest(self, versions: dict[tuple[str, int], Any], name: str) -> int:
        return max((version for known, version in versions if known == name), default=0)

    def body(self, digest: str) -> bytes:
        body = self.files[f"body/{digest[:2]}/{digest}"]
        assert sha256(body).hexdigest() == digest
        return body

    def move(self, index: int, transfers: Sequence[tuple[str, str, int, str]]) -> None:
        for ordinal, (giver, taker, amount, purpose) in enumerate(transfers):
            assert amount > 0
            self.balances[giver] -= amount
            self.balances[taker] += amount
            self.journal.append(f"{index},{ordinal},{giver},{taker},{amount},{purpose}")

    def pool(self, entry: dict[str, Any]) -> None:
        assert entry["index"] == 0
        self.admitted |= set(entry["platforms"])
        self.policies.append((0, 1, entry["policy"]))

    def admission(self, entry: dict[str, Any]) -> None:
        assert entry["platform"] in self.acts.registry.platforms
        assert entry["admitted"] == (entry["platform"] not in self.admitted)
        self.admitted ^= {entry["platform"]}

    def policy(self, entry: dict[str, Any]) -> None:
        assert entry["version"] == self.policies[-1][1] + 1
        self.policies.append((entry["index"], entry["version"], entry["policy"]))

    def method(self, entry: dict[str, Any]) -> None:
        assert entry["version"] == self.latest(self.methods, entry["method"]) + 1
        self.methods[entry["method"], entry["version"]] = entry

    def membership(self, entry: dict[str, Any]) -> None:
        body = self.body(entry["body_sha256"])
        rows = dict(csv_of(body, "source,collective"))
        assert (len(body), len(rows), len(set(rows.values()))) == (
            entry["body_bytes"], entry["sources"], entry["collectives"],
        )  # fmt: skip
        assert entry["version"] == self.latest(self.memberships, entry["membership"]) + 1
        self.memberships[entry["membership"], entry["version"]] = rows

    def events(self, entry: dict[str, Any]) -> list[Event]:
        method = self.methods[entry["method"], entry["method_version"]]
        body = self.body(entry["body_sha256"])
        assert len(body) == entry["body_bytes"]
        found = batch_of(body)
        if "score_kind" in method:
            named = method.get("membership")
            membership = self.memberships[named, entry["membership_version"]] if named else None
            for event in found:
                event.parts = shares_of(event.scores, method, membership)
        return found

    def weigh(self, entry: dict[str, Any], batch: dict[str, Any], events: Sequence[Event], sign: int) -> None:
        for mode, name in ((1, "ai_only"), (2, "human_ai")):
            own = Weights()
            for event in events:
                if event.mode == mode:
                    own.add(event, 1)
                    key = (batch["method"], batch["method_version"], mode)
                    self.changes.append((entry["index"], key, event, sign))
            assert entry[name] == {
                "events": own.events,
                "attributed": str(sum(own.weight.values())),
                "unattributed": str(own.unattributed),
            }

    def closing(self, entry: dict[str, Any]) -> None:
        assert not self.closed, entry["index"]
        self.closed = True

    def id_scheme(self, entry: dict[str, Any]) -> None:
        assert entry["platform"] in self.admitted
        assert entry["scheme"] in ("OWN", "ORDERED")
        assert entry["platform"] not in self.id_schemes
        self.id_schemes[entry["platform"]] = entry["scheme"]

    def usage(self, entry: dict[str, Any]) -> None:
        assert entry["platform"] in self.admitted
        assert not self.closed
        assert entry.get("id_scheme") != "OWN"
        assert entry.get("id_scheme", "OWN") == self.id_schemes.setdefault(entry["platform"], "OWN")
        assert entry["method_version"] == self.latest(self.methods, entry["method"])
        method = self.methods[entry["method"], entry["method_version"]]
        assert entry.get("membership") == method.get("membership")
        if "membership" in method:
            assert entry["membership_version"] == self.latest(self.memberships, entry["membership"])
        else:
            assert "membership_version" not in entry
        events, duplicates = self.events(entry), set(positions_of(entry["duplicates"]))
        accepted = [position for position in range(len(events)) if position not in duplicates]
        for position, event in enumerate(events):
            fresh = (entry["platform"], event.id) not in self.seen
            assert fresh == (position not in duplicates)
            self.seen.add((entry["platform"], event.id))
        assert len(accepted) == entry["accepted"]
        self.accepted[entry["index"]] = accepted
        self.weigh(entry, entry, [events[position] for position in accepted], 1)
        self.totals[str(entry["index"])] = {name: entry[name] for name in ("accepted", "ai_only", "human_ai")}

    def retraction(self, entry: dict[str, Any]) -> None:
        assert not self.closed
        batch, positions = self.entries[entry["batch_leaf"]], positions_of(entry["positions"])
        assert batch["type"] == "usage.v1"
        assert batch["platform"] == entry["platform"]
        assert entry["platform"] in self.admitted
        assert set(positions) <= set(self.accepted[batch["index"]]) - self.retracted[batch["index"]]
        self.retracted[batch["index"]].update(positions)
        events = self.events(batch)
        self.weigh(entry, batch, [events[position] for position in positions], -1)

    def waiver(self, entry: dict[str, Any]) -> None:
        assert months_of(entry["period"])
        assert (entry["period"], entry["platform"]) not in self.waived
        self.waived.add((entry["period"], entry["platform"]))

    def tariff(self, entry: dict[str, Any]) -> None:
        who = entry["platform"]
        assert not who or who in self.acts.registry.platforms
        self.tariffs[who] += 1
        assert entry["version"] == self.tariffs[who]
        assert months_of(entry["period_from"])[0] >= 12 * 1970
        assert 0 <= entry["share_ppm"] <= 1_000_000
        rate, units = int(entry["rate_minor"]), entry["rate_units"]
        assert 0 <= rate <= 10**15
        assert 1 <= units <= 10**15 if rate else units == 0
        assert 0 <= int(entry["minimum_minor"]) <= 10**15

    # 7b. Periods: oldest first, what a platform paid is for its reports.

    def received(self, before: int) -> int:
        """What was received for periods that end at a month or before, and no round took."""
        total = self.balances["revenue"]
        for who in {taken[0] for leaf, taken in self.left.items() if leaf in self.reported}:
            later = sum(
                self.left[leaf][1] for leaf, end in self.reported.items() if end > before and self.left[leaf][0] == who
            )
            total -= max(0, later - self.balances.get(f"due/{who}", 0))
        return max(0, total)

    def missing(self, end: int) -> list[str]:
        found = []
        for who in sorted(self.admitted):
            own = {leaf: end_ for leaf, end_ in self.reported.items() if self.left[leaf][0] == who}
            later = sum(self.left[leaf][1] for leaf, other in own.items() if other > end)
            has = any(other == end and self.left[leaf][1] for leaf, other in own.items())
            if not has or self.balances.get(f"due/{who}", 0) > later:
                found.append(who)
        return found

    def closes(self, entry: dict[str, Any], policy: dict[str, Any], now: datetime) -> str:
        """The period that the next round closes; empty where there are none."""
        months = {"MONTH": 1, "QUARTER": 3, "YEAR": 12}.get(policy.get("period", "NONE"), 0)
        if not months:
            return ""
        last = self.rounds[self.posted_number - 1].get("period", "") if self.posted_number else ""
        if last:
            first, after = months_of(last)
            start, length = after, months if after % months == 0 else after - first
        else:
            start, length = months_of(policy["period_from"])[0], months
        this_month = 12 * now.year + now.month - 1
        while True:
            name, end = name_of(start, length), start + length
            assert this_month >= end
            assert all((name, who) in self.waived for who in self.missing(end))
            if self.gives(entry, policy, end):
                return name
            start, length = end, months if end % months == 0 else length

    def in_period(self, entry: dict[str, Any], policy: dict[str, Any]) -> tuple[dict[Key, Weights], int]:
        """The usage and the pot of a round, with what it says of its period."""
        period = self.closes(entry, policy, datetime.fromisoformat(entry["time"]))
        first, end = months_of(period) if period else (None, None)
        late = list(self.weights_before(first).values()) if first else []
        pot = self.received(end) if end else max(0, self.balances["revenue"])
        said = [entry.get(name, 0) for name in ("late_events", "late_retracted")]
        assert said == [sum(each.events for each in late), sum(each.retracted for each in late)]
        assert int(entry.get("late_minor", 0)) == (min(pot, self.received(first)) if first else 0)
        assert entry.get("waived", []) == (self.missing(end) if end else [])
        assert entry.get("period", "") == period
        assert entry.get("usage_from") == (self.all_taken if self.all_taken < self.posted_end else None)
        return self.weights_before(end), pot

    def gives(self, entry: dict[str, Any], policy: dict[str, Any], end: int) -> bool:
        """Whether a round up to a month would give anything to anyone."""
        pot = self.received(end)
        registry = csv_of(self.body(entry["registry_sha256"]), "collective,status,members,equity_ppm")
        found, _ = distribute(self, policy, self.weights_before(end), registry, pot)
        names = ("attributed_minor", "commons_minor", "commons_kept_minor", "rounding_minor")
        return bool(pot) and any(found[name] for name in names)

    def weights_before(self, month: int | None) -> dict[Key, Weights]:
        """Of the usage of months before one that no posted round took."""
        weights: dict[Key, Weights] = defaultdict(Weights)
        for _, key, event, sign in self.changes:
            if month is None or event.month < month:
                weights[key].add(event, sign)
        return weights

    def covered(self) -> bool:
        return self.balances["revenue"] >= int(self.rounds[-1]["pot_minor"])

    def moved(self, entry: dict[str, Any], *moves: tuple[str, str, int, str]) -> None:
        self.move(entry["index"], [move for move in moves if move[2]])

    def report(self, entry: dict[str, Any]) -> None:
        first, who, amount = self.entries[0], entry["platform"], int(entry["amount_minor"])
        assert who in self.admitted
        assert (entry["currency"], entry["distribute"]) == (first["currency"], first["distribute"])
        assert entry["payment_reference"] == reference_of(f"{first['pool']}\n{who}\n{entry['request_id']}")
        assert re.fullmatch(r"|\d{4}(-(0[1-9]|1[0-2]|Q[1-4]))?", entry["period"])
        assert 0 <= int(entry.get("income_minor", 0)) <= 10**15
        self.left[entry["index"]] = [who, amount]
        self.reported[entry["index"]] = months_of(entry["period"])[1] if entry["period"] else 0
        if first["distribute"] == "REPORTED":
            return self.moved(entry, (f"platform/{who}", "revenue", amount, "REPORT"))
        used = min(self.balances.get(f"credit/{who}", 0), amount)
        return self.moved(
            entry,
            (f"platform/{who}", f"due/{who}", amount, "REPORT"),
            (f"due/{who}", "outside", used, "CREDIT"),
            (f"credit/{who}", "revenue", used, "CREDIT"),
        )

    def receipt(self, entry: dict[str, Any]) -> None:
        assert self.entries[0]["distribute"] == "RECEIVED"
        who, amount = entry["platform"], int(entry["amount_minor"])
        self.left[entry["index"]] = [who, amount]
        if not who:
            return self.moved(entry, ("outside", "unmatched", amount, "RECEIPT"))
        due = min(self.balances.get(f"due/{who}", 0), amount)
        return self.moved(
            entry, (f"due/{who}", "revenue", due, "RECEIPT"), ("outside", f"credit/{who}", amount - due, "CREDIT")
        )

    def match(self, entry: dict[str, Any]) -> None:
        who, amount = entry["platform"], int(entry["amount_minor"])
        assert self.entries[entry["receipt"]]["type"] == "receipt.v1"
        assert who
        assert self.left[entry["receipt"]] == ["", amount]
        self.left[entry["receipt"]][0] = who
        due = min(self.balances.get(f"due/{who}", 0), amount)
        self.moved(
            entry,
            (f"due/{who}", "outside", due, "MATCH"),
            ("unmatched", "revenue", due, "MATCH"),
            ("unmatched", f"credit/{who}", amount - due, "CREDIT"),
        )

    def reversal(self, entry: dict[str, Any]) -> None:
        taken, amount, who = self.left[entry["reverses"]], int(entry["amount_minor"]), entry["platform"]
        assert taken[0] == who
        assert 1 <= amount <= taken[1]
        taken[1] -= amount
        assert entry["of"] == self.entries[entry["reverses"]]["type"]
        assert entry["distribute"] == self.entries[0]["distribute"]
        purpose = "CHARGEBACK" if entry["chargeback"] else "REVERSAL"
        if entry["of"] == "receipt.v1":
            if not who:
                return self.moved(entry, ("unmatched", "outside", amount, purpose))
            spare = min(self.balances.get(f"credit/{who}", 0), amount)
            return self.moved(
                entry,
                (f"credit/{who}", "outside", spare, purpose),
                ("revenue", f"due/{who}", amount - spare, purpose),
            )
        assert not entry["chargeback"]
        if entry["distribute"] == "REPORTED":
            return self.moved(entry, ("revenue", f"platform/{who}", amount, purpose))
        due = min(self.balances.get(f"due/{who}", 0), amount)
        return self.moved(
            entry,
            (f"due/{who}", f"platform/{who}", due, purpose),
            ("outside", f"platform/{who}", amount - due, purpose),
            ("revenue", f"credit/{who}", amount - due, purpose),
        )

    def payment(self, entry: dict[str, Any]) -> None:
        name = entry["collective"]
        self.move(entry["index"], [(f"collective/{name}", f"paid/{name}", int(entry["amount_minor"]), "PAYMENT")])

    def release(self, entry: dict[str, Any]) -> None:
        name, amount = entry["collective"], int(entry["amount_minor"])
        to, purpose = ("commons", "RETURN") if entry["to_commons"] else (f"collective/{name}", "RELEASE")
        self.move(entry["index"], [(f"held/{name}", to, amount, purpose)])

    def paying(self, entry: dict[str, Any]) -> None:
        self.registry.upto(max(entry["registry_size"], self.registry.size))
        run, plan = self.registry.runs[entry["pay_run"]]
        assert run["index"] == entry["pay_run_leaf"] < entry["registry_size"]
        parts = amounts_fit(canonical(self.body(entry["parts_sha256"])))["parts"]
        planned = [
            (payment["end_to_end_id"], payment["collective"], int(part["amount_minor"]))
            for payment in plan["payments"]
            for part in payment["pools"]
            if part["pool"] == entry["pool"]
        ]
        assert [(part["end_to_end_id"], part["collective"]) for part in parts] == [each[:2] for each in planned]
        moves = []
        for part, (identity, name, wanted) in zip(parts, planned, strict=True):
            paid = max(0, min(wanted, self.balances[f"collective/{name}"]))
            assert (int(part["amount_minor"]), int(part["short_minor"])) == (paid, wanted - paid)
            self.in_run[identity] = paid
            if paid:
                moves.append((f"collective/{name}", f"paying/{name}", paid, "PAY_RUN"))
        self.move(entry["index"], moves)

    def salted(self, entry: dict[str, Any], digest: str, name: str) -> list[dict[str, Any]]:
        """The lines of a body, which are the leaves of a tree too, each with a salt of its own."""
        body = amounts_fit(canonical(self.body(digest)))
        salt, lines = bytes.fromhex(body["salt"]), cast("list[dict[str, Any]]", body[name])
        leaves = [
            sha256(
                b"\x00" + hmac.digest(salt, str(place).encode(), "sha256")
                + json.dumps(each, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
            ).digest()
            for place, each in enumerate(lines)
        ]  # fmt: skip
        assert (entry["lines"], entry["lines_root"]) == (len(leaves), root_of(leaves).hex())
        return lines

    def booking(self, entry: dict[str, Any]) -> None:
        self.registry.upto(max(entry["registry_size"], self.registry.size))
        assert entry["bank_file_leaf"] < entry["registry_size"]
        claimed = self.salted(entry, entry["bookings_sha256"], "bookings")
        moves: list[tuple[str, str, int, str]] = []
        expected = []
        for line in self.registry.statements[entry["bank_file_leaf"]]:
            kind, name = line["kind"], line["subject"]
            parts = {part["pool"]: int(part["amount_minor"]) for part in line["pools"]}
            amount = parts.get(entry["pool"], 0)
            bears = kind == "RETURNED" and line["pools"][0]["pool"] == entry["pool"]
            cost = sum(parts.values()) - int(line["amount_minor"]) if bears else 0
            if not amount and not cost:
                continue
            expected.append((kind, name, line["end_to_end_id"], str(amount), str(cost), line["day"], line["reason"]))
            if kind in BANK_SAYS:
                assert amount == self.in_run[line["end_to_end_id"]]
            if kind in ("RECEIVED", "UNMATCHED", "TAKEN_BACK", "FREED"):
                moves += self.of_payer(kind, name, amount, moves)
                continue
            from_account, to_account, purpose = {
                "PAID": (f"paying/{name}", f"paid/{name}", "PAYMENT"),
                "UNPAID": (f"paying/{name}", f"collective/{name}", "UNPAID"),
                "RETURNED": (f"paid/{name}", f"collective/{name}", "RETURNED"),
                "CHARGE": ("costs", "withdrawn", "CHARGE"),
            }[kind]
            moves.append((from_account, to_account, amount, purpose))
            if cost:
                moves.append(("costs", "withdrawn", cost, "CHARGE"))
        names = ("kind", "subject", "end_to_end_id", "amount_minor", "cost_minor", "day", "reason")
        assert [tuple(each[name] for name in names) for each in claimed] == expected
        self.move(entry["index"], moves)

    def of_payer(self, kind: str, who: str, amount: int, before: list[Any]) -> list[tuple[str, str, int, str]]:
        comes, why = kind in ("RECEIVED", "UNMATCHED"), "MATCH" if kind == "FREED" else "CHARGEBACK"
        if not who:
            return [("outside", "unmatched", amount, "RECEIPT") if comes else ("unmatched", "outside", amount, why)]
        account = f"due/{who}" if comes else f"credit/{who}"
        there = self.balances.get(account, 0) + sum(
            move[2] * ((move[1] == account) - (move[0] == account)) for move in before
        )
        first = min(there, amount)
        moves = (
            [(f"due/{who}", "revenue", first, "RECEIPT"), ("outside", f"credit/{who}", amount - first, "CREDIT")]
            if comes
            else [(f"credit/{who}", "outside", first, why), ("revenue", f"due/{who}", amount - first, why)]
        )
        return [move for move in moves if move[2]]

    def grant(self, entry: dict[str, Any]) -> None:
        to, amount = f"collective/{entry['collective']}", int(entry["amount_minor"])
        self.move(entry["index"], [("commons", to, amount, "GRANT")])

    def proposal(self, entry: dict[str, Any]) -> None:
        """It moves nothing."""

    def schedule(self, entry: dict[str, Any]) -> None:
        set_at = datetime.fromisoformat(entry["time"])
        if self.scheduled != (entry["cron"], entry["time_zone"]):
            self.fired_until = max(self.fired_until or set_at, set_at)
        self.scheduled, self.paused = (entry["cron"], entry["time_zone"]), entry["paused"]

    def fired(self, entry: dict[str, Any]) -> None:
        times = entry["fire_times"]
        for name in ("first", "last"):
            assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", times[name])
        first, last = (datetime.fromisoformat(times[name]) for name in ("first", "last"))
        assert first <= last <= datetime.fromisoformat(entry["time"])
        assert times["count"] >= 1
        assert (times["count"] == 1) == (first == last)
        assert self.fired_until is not None
        assert not self.paused
        assert first > self.fired_until
        self.fired_until = last

    def pause(self, entry: dict[str, Any]) -> None:
        self.paused = entry["type"] == "pause.v1"

    def review_ends(self) -> datetime:
        last = self.rounds[-1]
        return self.times[last["index"]] + timedelta(seconds=self.policy_at(last["start"])[2]["review_seconds"])

    def objection(self, entry: dict[str, Any]) -> None:
        last, (kind, name) = self.rounds[-1], entry["by"].split("/")
        assert (self.state, kind, entry["round"]) == ("CALCULATED", "collectives", last["number"])
        assert entry["round_hash"] == self.hashes[last["index"]].hex()
        assert name in {line[0] for line in csv_of(self.body(last["statement_sha256"]), STATEMENT)}
        assert (entry["round"], name) not in self.objections
        assert self.acts.timed[self.rounds[-1]["index"]] or self.times[entry["index"]] < self.review_ends()
        self.objections[entry["round"], name] = entry["index"]

    def split(self, entry: dict[str, Any]) -> None:
        said = self.rounds[entry["round"] - 1]
        assert said["number"] in self.posted
        assert entry["by"] == f"collectives/{entry['collective']}"
        assert entry["round_hash"] == self.hashes[said["index"]].hex()
        (line,) = [
            each for each in csv_of(self.body(said["statement_sha256"]), STATEMENT) if each[0] == entry["collective"]
        ]
        assert line[10] == entry["amount_minor"]
        assert 1 <= entry["lines"] <= 10**7
        assert (entry["round"], entry["collective"]) not in self.splits
        self.splits.add((entry["round"], entry["collective"]))

    def answer(self, entry: dict[str, Any]) -> None:
        key = (entry["round"], entry["collective"])
        assert (self.state, key[0]) == ("CALCULATED", self.rounds[-1]["number"])
        assert entry["objection_hash"] == self.hashes[self.objections[key]].hex()
        assert key not in self.answers
        assert entry["answer"] in ("DISMISSED", "UPHELD", "SET_ASIDE")
        self.answers[key] = entry["answer"]

    def decision(self, entry: dict[str, Any]) -> None:
        last = self.rounds[-1] if self.rounds else None
        if last is None or self.entries[entry["subject"]]["type"] == "proposal.v1":
            return
        assert (self.state, entry["subject"]) == ("CALCULATED", last["index"])
        self.state = entry["decision"]
        assert entry["by"] != "ledger" or not self.covered()
        if self.state == "APPROVED":
            policy = self.policy_at(last["start"])[2]
            objected = {key for key in self.objections if key[0] == last["number"]}
            if entry["by"] != "policy":
                assert entry["by"].startswith("operators/")
            elif policy["review_seconds"]:
                assert (policy["approval"], last["by"], objected) == ("SILENCE", "scheduler", set())
            assert self.times[entry["index"]] >= self.review_ends()
            assert objected <= self.answers.keys()
            assert "UPHELD" not in {self.answers[key] for key in objected}

    def posting(self, entry: dict[str, Any]) -> None:
        last = self.rounds[-1]
        assert (self.state, entry["round"]) == ("APPROVED", last["number"])
        review = timedelta(seconds=self.policy_at(last["start"])[2]["review_seconds"])
        assert datetime.fromisoformat(entry["time"]) - datetime.fromisoformat(last["time"]) >= review
        self.window(entry, last, review.total_seconds())
        lines = csv_of(self.body(last["statement_sha256"]), STATEMENT)
        transfers = [("revenue", "fees", int(last["fee_minor"]), "FEE")]
        aside = sorted(
            name for (number, name), said in self.answers.items() if (number, said) == (last["number"], "SET_ASIDE")
        )
        assert entry.get("set_aside", []) == aside
        for line in lines:
            if line[0] in aside:
                transfers.append(("revenue", f"held/{line[0]}", int(line[10]), "DISPUTED"))
                continue
            account = ("held/" if line[1] == "SUSPENDED" else "collective/") + line[0]
            transfers += [
                ("revenue", account, int(line[8]), "ATTRIBUTED"),
                ("revenue", account, int(line[9]), "COMMONS"),
            ]
        transfers.append(("revenue", "commons", int(last["commons_kept_minor"]), "COMMONS_FUND"))
        rounding = int(last["rounding_minor"])
        transfers.append(("revenue", "rounding", rounding, "ROUNDING"))
        if rounding < 0:
            transfers[-1] = ("rounding", "revenue", -rounding, "ROUNDING")
        share = self.policy_at(last["start"])[2].get("recoup_ppm", 0)
        assert entry.get("recoup_ppm", 0) == share
        recouped = self.recouped(share, lines, aside)
        transfers = [moved for moved in transfers if moved[2]] + recouped
        assert entry["transfer_count"] == len(transfers)
        assert int(entry["amount_minor"]) == sum(moved[2] for moved in transfers)
        left = self.balances["revenue"] - int(last["pot_minor"]) + int(last["carried_minor"])
        left += sum(moved[2] for moved in recouped if moved[1] == "revenue")
        self.move(entry["index"], transfers)
        self.posted.add(last["number"])
        assert self.balances["revenue"] == left
        self.state, self.posted_end, self.posted_number = "POSTED", last["end"], last["number"]
        end = months_of(last["period"])[1] if last.get("period") else None
        self.changes = [
            change for change in self.changes if change[0] >= last["end"] or (end and change[2].month >= end)
        ]
        if end is None:
            self.all_taken = last["end"]
        self.deficits = {line[0]: int(line[7]) for line in lines}
        self.deficit_unattributed = int(last["deficit_unattributed"])
        self.carried = {line[0]: (int(line[12]), int(line[14])) for line in lines}
        self.kept_carried = last["kept_after_nano"]

    def recouped(self, share: int, lines: list[list[str]], aside: list[str]) -> list[tuple[str, str, int, str]]:
        """What a round's lines pay back, and to whom it goes on."""
        held = {line[0]: "held" if line[1] == "SUSPENDED" or line[0] in aside else "collective" for line in lines}
        moved = []
        for name, _, *figures in lines:
            back = min(-self.balances.get(f"owing/{name}", 0), int(figures[8]) * share // PPM)
            if back > 0:
                moved.append((f"{held[name]}/{name}", f"owing/{name}", back, "RECOUPED"))
        takers = [(f"awaiting/{name}", f"{kind}/{name}") for name, kind in held.items()]
        takers += [(f"awaiting_{name}", name) for name in ("commons", "fees", "revenue")]
        due = [self.balances.get(waits, 0) for waits, _ in takers]
        amounts = apportion(sum(each[2] for each in moved), due) if moved else []
        going = zip(takers, amounts, strict=False)
        return moved + [(waits, gets, amount, "RECOUPED") for (waits, gets), amount in going if amount]

    # 9. A posted round over the corrected log.

    def adjustment(self, entry: dict[str, Any]) -> None:
        last = next(said for said in self.rounds if said["number"] == entry["round"])
        assert last["number"] in self.posted
        assert self.state in ("POSTED", "REJECTED")
        lines = csv_of(self.body(last["statement_sha256"]), STATEMENT)
        registry = csv_of(self.body(last["registry_sha256"]), "collective,status,members,equity_ppm")
        policy = self.entries[last["policy_leaf"]]["policy"]
        methods = {key: dict(said) for key, said in self.methods.items()}
        for leaf in entry["pool_leaves"]:
            said = self.entries[leaf]
            assert leaf < entry["index"]
            assert said["type"] in ("policy.v1", "method.v1")
            if said["type"] == "policy.v1":
                policy = said["policy"]
                continue
            for (name, _), known in methods.items():
                if name == said["method"]:
                    known["confidence_ppm"] = said["confidence_ppm"]
        for leaf in entry["registry_leaves"]:
            said = self.acts.registry.entries[leaf]
            assert leaf < entry["registry_size"]
            assert said["type"] == "collective.v1"
            changed = [said["collective"], said["status"], str(said["members"]), str(said["equity_ppm"])]
            registry = sorted([line for line in registry if line[0] != changed[0]] + [changed])
        before = next((said for said in self.rounds if said["number"] == last["previous"]), None)
        then = SimpleNamespace(
            methods=methods,
            deficits={line[0]: int(line[5]) for line in lines},
            deficit_unattributed=int(before["deficit_unattributed"]) if before else 0,
            carried={line[0]: (int(line[11]), int(line[13])) for line in lines},
            kept_carried=before["kept_after_nano"] if before else 0,
        )
        weights = self.weights_in(last)
        found, statement = distribute(cast("Fold", then), policy, weights, registry, int(last["pot_minor"]))
        differences = self.differences(last, found, lines, csv_of(statement.encode(), STATEMENT))
        known = self.adjusted.setdefault(last["number"], {})
        differences = dict.fromkeys(known, (0, 0)) | differences
        follows = []
        for account, (old, new) in sorted(differences.items()):
            follows += [[account, str(known.get(account, old)), str(new)]] if known.get(account, old) != new else []
            known[account] = new
        stated = [
            [line["account"], line["old_minor"], line["new_minor"]]
            for line in self.salted(entry, entry["lines_sha256"], "lines")
        ]
        assert stated == follows
        change = {account: int(new) - int(old) for account, old, new in stated}
        assert int(entry["amount_minor"]) == sum(amount for amount in change.values() if amount > 0) > 0
        self.move(entry["index"], self.adjusting(change, entry["source"]))

    def weights_in(self, last: dict[str, Any]) -> dict[Key, Weights]:
        found: dict[Key, Weights] = {}
        rows = csv_of(self.body(last["weights_sha256"]), "collective,method,method_version,mode,events,weight")
        for name, method, version, mode, events, weight in rows:
            under = found.setdefault((method, int(version), int(mode)), Weights())
            if name:
                under.weight[name], under.counts[name] = int(weight), int(events)
            else:
                under.events, under.unattributed = int(events), int(weight)
        return found

    def differences(
        self, last: dict[str, Any], found: dict[str, int], lines: list[list[str]], new_lines: list[list[str]]
    ) -> dict[str, tuple[int, int]]:
        """By account, what it got and what it would get: whole units by largest remainder of the exact difference."""
        aside = {
            name for (number, name), said in self.answers.items() if (number, said) == (last["number"], "SET_ASIDE")
        }
        of = {line[0]: line for line in lines}
        exact = {"commons": [int(last["commons_kept_minor"]), int(last["kept_after_nano"])]}
        new = {"commons": [found["commons_kept_minor"], found["kept_after_nano"]]}
        for line in new_lines:
            old = of.get(line[0], [line[0], line[1], *("0" * 13)])
            account = ("held/" if old[1] == "SUSPENDED" or line[0] in aside else "collective/") + line[0]
            exact[account] = [int(old[10]), int(old[12]) + int(old[14])]
            new[account] = [int(line[10]), int(line[12]) + int(line[14])]
        rest = {account: (new[account][0] - old[0]) * NANO + new[account][1] - old[1] for account, old in exact.items()}
        whole = {account: amount // NANO for account, amount in rest.items()}
        up = (sum(amount % NANO for amount in rest.values()) + NANO // 2) // NANO
        for account in sorted(rest, key=lambda account: (-(rest[account] % NANO), account))[:up]:
            whole[account] += 1
        result = {account: (exact[account][0], exact[account][0] + amount) for account, amount in whole.items()}
        result["fees"] = int(last["fee_minor"]), found["fee_minor"]
        gone = sum(new - old for old, new in result.values())
        result["revenue"] = int(last["carried_minor"]), int(last["carried_minor"]) - gone
        return result

    def adjusting(self, change: dict[str, int], source: str) -> list[tuple[str, str, int, str]]:
        assert source in ("", "fees", "commons")
        due = {account: amount for account, amount in change.items() if amount > 0}
        cash = {account: -amount for account, amount in change.items() if amount < 0 and "/" not in account}
        owed = {f"owing/{a.split('/')[1]}": -amount for a, amount in change.items() if amount < 0 and "/" in a}
        now = dict(zip(due, apportion(sum(cash.values()), list(due.values())) if cash else [0] * len(due), strict=True))
        later = {account: amount - now[account] for account, amount in due.items()}
        waits = {a: f"awaiting/{a.split('/')[1]}" if "/" in a else f"awaiting_{a}" for a in (*due, "fees", "commons")}
        moved = paired(cash, now)
        if source and owed:
            moved += paired({source: sum(owed.values())}, later)
            moved += paired(owed, {waits[source]: sum(owed.values())})
        else:
            moved += paired(owed, {waits[account]: amount for account, amount in later.items()})
        found = [(*each, "ADJUSTMENT") for each in moved]
        for name in dict.fromkeys(account.split("/")[1] for account in change if "/" in account):
            after = [
                self.balances.get(a, 0) + sum(m[2] * ((m[1] == a) - (m[0] == a)) for m in found)
                for a in (f"owing/{name}", f"awaiting/{name}")
            ]
            if min(-after[0], after[1]) > 0:
                found.append((f"awaiting/{name}", f"owing/{name}", min(-after[0], after[1]), "RECOUPED"))
        return found

    def window(self, entry: dict[str, Any], last: dict[str, Any], review_seconds: float) -> None:
        policy = self.acts.timed[last["index"]]
        if not policy or not review_seconds:
            assert "review_began_sha256" not in entry
            assert "review_ended_sha256" not in entry
            return
        sizes, since = list[int](), 0
        for name in ("review_began_sha256", "review_ended_sha256"):
            origin, size, root, time = cosigned(self.body(entry[name]), policy, since)
            assert origin == f"{self.acts.registry.origin}/pools/{entry['pool']}"
            assert last["index"] < size <= entry["index"]
            assert root == root_of(self.hashes[:size])
            sizes, since = [*sizes, size], time + int(review_seconds)
        assert sizes == sorted(sizes)

    # 8. A round.

    def policy_at(self, start: int) -> tuple[int, int, dict[str, Any]]:
        return [noted for noted in self.policies if noted[0] < start or noted[0] == 0][-1]

    def round(self, entry: dict[str, Any]) -> None:
        """A round's own leaf, or what is before leaf `end`: the first time it comes, it is the latter."""
        given = ("attributed_minor", "commons_minor", "commons_kept_minor", "rounding_minor")
        counts = int(entry["weight"]) + int(entry["weight_unattributed"])
        assert not counts or any(int(entry[name]) for name in given)
        if self.rounds and self.rounds[-1] is entry:
            assert entry["registry_root"] == root_of(self.registry.hashes[: entry["registry_size"]]).hex()
            assert self.body(entry["registry_sha256"]).decode() == self.registry.snapshot()
            if entry["fire_times"] is not None:
                self.fired(entry)
            return
        assert self.state in ("", "REJECTED", "POSTED")
        assert 0 < entry["end"] <= entry["index"]
        leaf, version, policy = self.policy_at(entry["start"])
        stated = [entry[name] for name in ("number", "start", "previous", "root", "policy_leaf", "policy_version")]
        root = root_of(self.hashes[: entry["end"]]).hex()
        assert stated == [len(self.rounds) + 1, self.posted_end, self.posted_number, root, leaf, version]
        weights, pot = self.in_period(entry, policy)
        registry = csv_of(self.body(entry["registry_sha256"]), "collective,status,members,equity_ppm")
        accounts = {tuple(account.split("/")) for account in self.balances if "/" in account}
        needed = {owner for kind, owner in accounts if kind in ("collective", "held", "paid")}
        needed |= {name for under in weights.values() for name in under.weight}
        needed |= {name for name, deficit in self.deficits.items() if deficit}
        needed |= {name for name, fractions in self.carried.items() if any(fractions)}
        assert needed <= {line[0] for line in registry}
        found, statement = distribute(self, policy, weights, registry, pot)
        assert self.body(entry["statement_sha256"]).decode() == statement
        assert self.body(entry["weights_sha256"]).decode() == weights_table(weights)
        lines, salt = csv_of(statement.encode(), STATEMENT), self.body(entry["salt_sha256"])
        assert len(salt) == 32
        leaves = [
            sha256(b"\x00" + hmac.digest(salt, line[0].encode(), "sha256") + dossier).digest()
            for line, dossier in zip(lines, dossiers_of(self, entry, policy, found, lines, registry), strict=True)
        ]
        assert (entry["statement_root"], entry["statement_lines"]) == (root_of(leaves).hex(), len(lines))
        assert {name: str(entry[name]) for name in found} == {name: str(figure) for name, figure in found.items()}
        self.rounds.append(entry)
        self.state = "CALCULATED"
        self.figures[str(entry["number"])] = {"statement": statement, **{name: str(found[name]) for name in found}}


STATEMENT: Final = (
    "collective,status,events,weight_ai_only,weight_human_ai,deficit_before,weight,deficit_after,"
    "attributed_minor,commons_minor,amount_minor,"
    "attributed_before_nano,attributed_after_nano,commons_before_nano,commons_after_nano"
)


def distribute(
    fold: Fold, policy: dict[str, Any], weights: dict[Key, Weights], registry: list[list[str]], pot: int
) -> tuple[dict[str, int], str]:
    net = {line[0]: -fold.deficits.get(line[0], 0) for line in registry}
    unattributed = -fold.deficit_unattributed
    for (method, version, mode), under in weights.items():
        q, p = fold.methods[method, version]["confidence_ppm"], policy[("ai_only_ppm", "human_ai_ppm")[mode - 1]]
        for name, weight in under.weight.items():
            net[name] += p * q * weight
        unattributed += p * (PPM * under.unattributed + (PPM - q) * sum(under.weight.values()))
    claims, rest_claim = [max(0, weight) for weight in net.values()], max(0, unattributed)
    nothing = [0] * len(registry)
    before = [fold.carried.get(line[0], (0, 0)) for line in registry]
    after, kept_after = before, fold.kept_carried
    fee, kept, attributed, commons = 0, 0, nothing, nothing
    if sum(claims) + rest_claim:
        fee = pot * policy["fee_ppm"] // PPM
        fee = fee if policy["fee_cap_minor"] is None else min(fee, int(policy["fee_cap_minor"]))
        attributed, commons, kept = parts_of(policy, pot - fee, claims, rest_claim, registry)
        if policy["rounding"] == "CARRIED":
            own = [divmod(part + old, NANO) for part, (old, _) in zip(attributed, before, strict=True)]
            common = [divmod(part + old, NANO) for part, (_, old) in zip(commons, before, strict=True)]
            attributed, commons = [amount for amount, _ in own], [amount for amount, _ in common]
            after = [(a, c) for (_, a), (_, c) in zip(own, common, strict=True)]
            kept, kept_after = divmod(kept + fold.kept_carried, NANO)
    rounding = in_whole(after, kept_after) - in_whole(before, fold.kept_carried)
    lines = [STATEMENT]
    for at, (name, status, _, _) in enumerate(registry):
        events = sum(under.counts.get(name, 0) for under in weights.values())
        raw = [sum(each.weight.get(name, 0) for key, each in weights.items() if key[2] == mode) for mode in (1, 2)]
        figures = [
            events,
            *raw,
            fold.deficits.get(name, 0),
            claims[at],
            max(0, -net[name]),
            attributed[at],
            commons[at],
            attributed[at] + commons[at],
            *(before[at][0], after[at][0], before[at][1], after[at][1]),
        ]
        lines.append(",".join([name, status, *map(str, figures)]))
    found = {
        "events": sum(under.events for under in weights.values()),
        "retracted": sum(under.retracted for under in weights.values()),
        "weight": sum(claims), "weight_unattributed": rest_claim, "deficit_unattributed": max(0, -unattributed),
        "pot_minor": pot, "fee_minor": fee, "attributed_minor": sum(attributed), "commons_minor": sum(commons),
        "commons_kept_minor": kept, "carried_minor": pot - fee - sum(attributed) - sum(commons) - kept - rounding,
        "rounding_minor": rounding, "kept_after_nano": kept_after,
    }  # fmt: skip
    return found, "\n".join(lines) + "\n"


def parts_of(
    policy: dict[str, Any], net: int, claims: list[int], rest_claim: int, registry: list[list[str]]
) -> tuple[list[int], list[int], int]:
    """Attributed and commons parts, and what is kept: in minor units, or under CARRIED in nano-minor units."""
    unit, divide = (NANO, quotas) if policy["rounding"] == "CARRIED" else (1, apportion)
    net *= unit
    shared = net - net * policy["commons_ppm"] // PPM
    if policy["unattributed"] == "COMMONS":
        shared = divide(shared, [sum(claims), rest_claim])[0]
    tempered = [{"PROPORTIONAL": w, "SQRT": isqrt(w), "EQUAL": int(w > 0)}[policy["tempering"]] for w in claims]
    floor, cap = unit * int(policy["floor_minor"]), policy["cap_minor"]
    attributed = [0] * len(registry)
    if floor * sum(claim > 0 for claim in tempered) <= shared:
        attributed = divide(shared, tempered, floor, None if cap is None else unit * int(cap))
    kept = net - shared if policy["commons_rule"] == "FUND" else 0
    factors = [commons_weight(policy["commons_rule"], int(line[2]), int(line[3])) for line in registry]
    return attributed, divide(net - shared - kept, factors), kept


def dossiers_of(
    fold: Fold,
    entry: dict[str, Any],
    policy: dict[str, Any],
    found: dict[str, int],
    lines: list[list[str]],
    registry: list[list[str]],
) -> Iterator[bytes]:
    """The document of each line, in canonical form."""
    attributed_k, commons_k = ks_of(policy, found, [int(line[6]) for line in lines], registry)
    totals: dict[str, Any] = {name: str(found[name]) for name in ("pot_minor", "fee_minor", "weight")}
    totals["weight_unattributed"] = str(found["weight_unattributed"])
    totals |= {"round": entry["number"], "lines": len(lines), "commons_k": ratio(commons_k)}
    totals["attributed_k"] = None if attributed_k is None else ratio(attributed_k)
    usage = csv_of(fold.body(entry["weights_sha256"]), "collective,method,method_version,mode,events,weight")
    for position, (line, (name, status, members, equity_ppm)) in enumerate(zip(lines, registry, strict=True)):
        assert line[:2] == [name, status]
        said = dict(zip(STATEMENT.split(","), line, strict=True))
        weights = [
            {
                "method": method, "method_version": int(version), "mode": int(mode), "events": events,
                "weight": weight, "confidence_ppm": fold.methods[method, int(version)]["confidence_ppm"],
            }
            for owner, method, version, mode, events, weight in usage if owner == name
        ]  # fmt: skip
        document = {
            "position": position,
            "line": {key: int(value) if key.endswith("_nano") else value for key, value in said.items()},
            "registry": {"members": int(members), "equity_ppm": int(equity_ppm)},
            "terms": {"policy": policy, "policy_version": entry["policy_version"]},
            "totals": totals,
            "weights": weights,
        }
        yield json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def ratio(value: Fraction) -> str:
    return f"{value.numerator}/{value.denominator}"


def ks_of(
    policy: dict[str, Any], found: dict[str, int], weights: list[int], registry: list[list[str]]
) -> tuple[Fraction | None, Fraction]:
    """What a unit of claim and of commons weight comes to."""
    if not sum(weights) + found["weight_unattributed"]:
        return Fraction(0), Fraction(0)
    unit, divide = (NANO, quotas) if policy["rounding"] == "CARRIED" else (1, apportion)
    net = (found["pot_minor"] - found["fee_minor"]) * unit
    shared = net - net * policy["commons_ppm"] // PPM
    if policy["unattributed"] == "COMMONS":
        shared = divide(shared, [sum(weights), found["weight_unattributed"]])[0]
    factors = [commons_weight(policy["commons_rule"], int(line[2]), int(line[3])) for line in registry]
    common = 0 if policy["commons_rule"] == "FUND" else net - shared
    commons_k = Fraction(common, sum(factors) or 1)
    tempered = [{"PROPORTIONAL": w, "SQRT": isqrt(w), "EQUAL": int(w > 0)}[policy["tempering"]] for w in weights]
    floor, cap = unit * int(policy["floor_minor"]), policy["cap_minor"]
    if floor * sum(claim > 0 for claim in tempered) > shared:
        return None, commons_k
    return k_of(shared, tempered, floor, None if cap is None else unit * int(cap)), commons_k


def k_of(total: int, claims: list[int], floor: int, cap: int | None) -> Fraction:
    positive, limit = [claim for claim in claims if claim], total if cap is None else cap
    if limit * len(positive) <= total:
        return Fraction(total, sum(positive) or 1) if cap is None else Fraction(cap)
    if floor * len(positive) == total:
        return Fraction(0)
    if floor == 0 and all(total * claim <= limit * sum(positive) for claim in positive):
        return Fraction(total, sum(positive))
    t = rise(total, positive, floor, limit)
    free = [claim for claim in positive if floor <= t * claim <= limit]
    bound = sum(floor if t * claim < floor else limit for claim in positive if claim not in free)
    return Fraction(total - bound, sum(free))


def in_whole(fractions: Sequence[tuple[int, int]], kept: int) -> int:
    """The least number of minor units that covers all fractions."""
    return -(-(kept + sum(map(sum, fractions))) // NANO)


def commons_weight(rule: str, members: int, equity_ppm: int) -> int:
    return {"EQUAL": 1, "FUND": 1, "PER_CAPITA": members, "EQUITY": members * equity_ppm}[rule]


def weights_table(weights: dict[Key, Weights]) -> str:
    rows: list[tuple[str, str, int, int, int, int]] = []
    for key, under in weights.items():
        rows.append(("", *key, under.events - under.retracted, under.unattributed))
        rows += [(name, *key, under.counts[name], under.weight[name]) for name in under.weight]
    lines = [",".join(map(str, row)) for row in sorted(rows)]
    return "\n".join(["collective,method,method_version,mode,events,weight", *lines]) + "\n"


def paired(givers: dict[str, int], takers: dict[str, int]) -> list[tuple[str, str, int]]:
    """Who gives how much to whom, first to first; nothing to oneself."""
    found: list[tuple[str, str, int]] = []
    gives = [name for name, amount in givers.items() for _ in range(amount)]
    gets = [name for name, amount in takers.items() for _ in range(amount)]
    for giver, taker in zip(gives, gets, strict=False):
        if found and found[-1][:2] == (giver, taker):
            found[-1] = giver, taker, found[-1][2] + 1
        else:
            found.append((giver, taker, 1))
    return [each for each in found if each[0] != each[1]]


def apportion(
    total: int, weights: Sequence[int], floor: int = 0, cap: int | None = None, *, place: bool = True
) -> list[int]:
    positive, limit = [weight for weight in weights if weight], total if cap is None else cap
    if limit * len(positive) <= total:
        return [limit if weight else 0 for weight in weights]
    if floor * len(positive) == total:
        return [floor if weight else 0 for weight in weights]
    t = rise(total, positive, floor, limit)
    amounts = [0 if not w else floor if t * w < floor else limit if t * w > limit else -1 for w in weights]
    free = [at for at, amount in enumerate(amounts) if amount < 0]
    left = total - sum(amounts[at] for at in range(len(weights)) if at not in free)
    whole = sum(weights[at] for at in free)
    for at in free:
        amounts[at] = left * weights[at] // whole
    spare = left - sum(amounts[at] for at in free)
    for at in sorted(free, key=lambda at: (-(left * weights[at] % whole), at))[: spare if place else 0]:
        amounts[at] += 1
    return amounts


def rise(total: int, positive: Sequence[int], floor: int, limit: int) -> Fraction:
    """The real t: between two breaks the sum is a straight line."""
    breaks = sorted({Fraction(0), *(Fraction(bound, weight) for weight in positive for bound in (floor, limit))})

    def spread(t: Fraction) -> Fraction:
        return sum((min(max(t * weight, Fraction(floor)), Fraction(limit)) for weight in positive), Fraction(0))

    above = next(at for at, place in enumerate(breaks) if spread(place) >= total)
    low, high = breaks[max(0, above - 1)], breaks[above]
    slope = (spread(high) - spread(low)) / (high - low) if high > low else Fraction(0)
    return low + (total - spread(low)) / slope if slope else high


def quotas(total: int, weights: Sequence[int], floor: int = 0, cap: int | None = None) -> list[int]:
    return apportion(total, weights, floor, cap, place=False)


def reference_of(text: str) -> str:
    """ISO 11649: of the number that the text and "RF00" are, with letters from 10 on, 98 less the rest by 97."""
    bits = int.from_bytes(sha256(text.encode()).digest()[:10], "big")
    body = "".join("0123456789ABCDEFGHJKMNPQRSTVWXYZ"[bits >> 5 * place & 31] for place in range(16))
    number = int("".join(str(int(letter, 36)) for letter in f"{body}RF00"))
    return f"RF{98 - number % 97:02d}{body}"


# 9. Steps.


def verify(bundle: Path, vkey: str = "") -> tuple[Fold, bytes]:
    """The fold of a bundle, and the root of its entries; AssertionError where something does not hold.

    Without a key the signatures are not checked. With one, which may be any of the deployment's, they are, and those
    of the witnesses whom the registry's log names.
    """
    files = files_of(bundle)
    deployment, _, pool = files["checkpoint"].decode().partition("\n")[0].rpartition("/pools/")
    assert files["registry/checkpoint"].decode().startswith(f"{deployment}/registry\n")
    log, registry_log = Log.of(files, pool), Log.of(files, "registry", "registry/")
    if vkey:
        keys = Keys.of(vkey, registry_log.entries, files)
        policies = [(entry["index"], entry["policy"]) for entry in registry_log.entries if "policy" in entry]
        policies = [(at, policy) for at, policy in policies if isinstance(policy, str)]
        assert keys.require(files, "", log, policies) <= keys.require(files, "registry/", registry_log, policies)
    in_order = [("checkpoint", files["checkpoint"]), ("registry/checkpoint", files["registry/checkpoint"])]
    in_order += [*files_in_order(registry_log, "registry/"), *bodies_in_order(registry_log, files, "registry/")]
    in_order += [*files_in_order(log), ("journal.csv", files["journal.csv"]), ("balances.csv", files["balances.csv"])]
    assert archive_of([*in_order, *bodies_in_order(log, files)]) == bundle.read_bytes()
    registry = Registry(registry_log.entries, registry_log.hashes, files)
    hashes = log.hashes
    fold = Fold(files, hashes, log.entries, registry, Acts(registry, hashes, pool=pool))
    fold.run()
    registry.upto(len(registry.entries))
    assert fold.acts.approval is None
    assert registry.acts.approval is None
    accounts = {tuple(account.split("/")) for account in fold.balances if "/" in account}
    theirs = ("platform", "due", "credit")
    assert {owner for kind, owner in accounts if kind not in theirs} <= registry.collectives.keys()
    header = "leaf_index,ordinal,from_account,to_account,amount_minor,purpose"
    assert files["journal.csv"].decode() == "".join(f"{line}\n" for line in (header, *fold.journal))
    touched = {account for line in fold.journal for account in re.split(",", line)[2:4]}
    balances = sorted((account, fold.balances[account]) for account in touched)
    assert files["balances.csv"].decode() == "account,amount_minor\n" + "".join(f"{a},{b}\n" for a, b in balances)
    assert sum(fold.balances.values()) == 0
    return fold, root_of(hashes)


def sample(fold: Fold, size: int, seed: str) -> list[tuple[int, int, str]]:
    """The first `size` of the accepted events in the order of the draw: leaf, position and id."""
    drawn = []
    for leaf, positions in fold.accepted.items():
        events = batch_of(fold.body(fold.entries[leaf]["body_sha256"]))
        begun = f"{seed}\n{fold.entries[leaf]['platform']}\n".encode()
        drawn += [(sha256(begun + events[at].id).digest(), leaf, at, events[at].id.hex()) for at in positions]
    return [each[1:] for each in sorted(drawn)[:size]]
