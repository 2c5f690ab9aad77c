"""Log entries by their rules: one spelling for each leaf, and nothing else is one."""

from __future__ import annotations

import json
from datetime import UTC
from typing import Any

import pytest
import rfc8785
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.acts.entries import DecisionContent, ProposalContent
from ledger.entries import (
    BookingContent,
    GrantContent,
    PayingContent,
    PaymentContent,
    ReleaseContent,
)
from ledger.errors import LedgerCorruptError
from ledger.income import MatchContent, ReceiptContent, ReportContent, ReversalContent, WaiverContent
from ledger.log import canonical
from ledger.log.leaves import (
    Content,
    Leaf,
    decode,
    encode,
)
from ledger.log.merkle import leaf_hash
from ledger.usage.entries import (
    AdmissionContent,
    ClosingContent,
    IdSchemeContent,
    MembershipContent,
    MethodContent,
    RetractionContent,
    UsageContent,
    decode_positions,
    encode_positions,
)
from payout.adjustments import AdjustmentContent
from payout.entries import (
    CONTENTS,
    PauseContent,
    PolicyContent,
    PoolContent,
    PostingContent,
    RoundContent,
    ScheduleContent,
)
from payout.objections import AnswerContent, ObjectionContent
from payout.splits import SplitContent
from payout.tariffs import TariffContent
from tests.support.entries import SAFE, contents, texts

leaves = st.builds(
    Leaf,
    pool=texts,
    index=st.integers(0, SAFE),
    time=st.datetimes(timezones=st.just(UTC)).filter(lambda time: time.year >= 1000),
    content=contents,
)


def test_every_type_of_entry_is_tried() -> None:
    kinds = {
        PoolContent, PolicyContent, MethodContent, UsageContent, ReportContent, PaymentContent, RoundContent,
        RetractionContent, ReleaseContent, GrantContent, DecisionContent, PostingContent, MembershipContent,
        IdSchemeContent, ClosingContent, ProposalContent, ScheduleContent, PauseContent, ObjectionContent,
        AnswerContent, AdmissionContent, SplitContent, PayingContent, BookingContent, ReceiptContent, ReversalContent,
        MatchContent, WaiverContent, AdjustmentContent, TariffContent,
    }  # fmt: skip
    assert set(CONTENTS.values()) == kinds
    assert all(name == kind.type for name, kind in CONTENTS.items())


@given(leaves)
def test_a_leaf_survives_its_entry(leaf: Leaf[Content]) -> None:
    """Rule: the state of a pool is a fold of its leaves, so an entry says all of its leaf."""
    encoded = encode(leaf)
    decoded = decode(encoded.entry, CONTENTS)
    assert decoded == leaf
    assert type(decoded.content) is type(leaf.content)
    assert encoded.hash == leaf_hash(encoded.entry)


@given(leaves)
def test_an_entry_is_in_the_canonical_form_of_rfc_8785(leaf: Leaf[Content]) -> None:
    """Rule: "a small JSON document in RFC 8785 canonical form", "integers beyond 2^53 as decimal strings"."""
    entry = encode(leaf).entry
    document = json.loads(entry, parse_float=lambda text: pytest.fail(f"{text} is not an integer"))
    assert rfc8785.dumps(document) == entry
    assert document["type"] == leaf.content.type
    fields = type(leaf.content).model_fields
    values = {name: (getattr(leaf.content, name), field) for name, field in fields.items()}
    absent = {name for name, (value, field) in values.items() if field.exclude_if and value == field.default}
    assert document.keys() == {"type", "pool", "index", "time", *fields} - absent


@given(leaves, st.data())
def test_changed_bytes_are_refused_or_are_the_entry_of_another_leaf(leaf: Leaf[Content], data: st.DataObject) -> None:
    """Rule: an entry has one spelling, so no two entries say the same."""
    entry = encode(leaf).entry
    at = data.draw(st.integers(0, len(entry)))
    cut = data.draw(st.integers(at, min(len(entry), at + 3)))
    written = data.draw(
        st.binary(max_size=3) | st.sampled_from([b" ", b"0", b"-", b'"', b"\\n", b"e1", b".0", b"null"])
    )
    changed = entry[:at] + written + entry[cut:]
    try:
        other = decode(changed, CONTENTS)
    except LedgerCorruptError:
        return
    assert encode(other).entry == changed
    assert (other == leaf) == (changed == entry)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(alphabet=st.characters(), max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(leaves, st.data(), json_values)
def test_any_json_in_the_place_of_a_field_is_refused_or_is_another_leaf(
    leaf: Leaf[Content], data: st.DataObject, value: object
) -> None:
    """Rule: decode raises LedgerCorruptError and nothing else, whatever was put into the log."""
    document = json.loads(encode(leaf).entry)
    document[data.draw(st.sampled_from(sorted(document)))] = value
    changed = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=data.draw(st.booleans()))
    try:
        other = decode(changed.encode("utf-8", "surrogatepass"), CONTENTS)
    except LedgerCorruptError:
        return
    assert encode(other).entry == changed.encode()


@given(
    st.binary(max_size=100) | st.text(max_size=100).map(str.encode) | json_values.map(lambda v: json.dumps(v).encode())
)
def test_arbitrary_bytes_are_refused(entry: bytes) -> None:
    """Rule: as above."""
    with pytest.raises(LedgerCorruptError):
        decode(entry, CONTENTS)


@given(st.sets(st.integers(0, 65_535) | st.integers(0, 30), max_size=40), st.data())
def test_positions_survive_their_bitmap_in_any_order(positions: set[int], data: st.DataObject) -> None:
    """Rule: position p is bit p % 8, least significant first, of byte p // 8."""
    shuffled = data.draw(st.permutations(sorted(positions)))
    text = encode_positions(shuffled)
    assert decode_positions(text) == sorted(positions)
    assert len(text) <= 10_924


@given(st.text(max_size=12) | st.binary(max_size=12).map(lambda raw: raw.hex()) | st.text("AQgw/+=", max_size=12))
def test_positions_have_one_spelling(text: str) -> None:
    """Rule: an entry has one spelling, its bitmap too."""
    try:
        positions = decode_positions(text)
    except LedgerCorruptError:
        return
    assert encode_positions(positions) == text


@st.composite
def almost_entries(draw: st.DrawFn) -> bytes:
    """An entry, or one that was spelled in another way, or says something else."""
    entry = encode(draw(leaves)).entry
    for _ in range(draw(st.integers(0, 2))):
        old, new = draw(
            st.sampled_from(
                [
                    (b":", b": "), (b",", b" ,"), (b'"index":', b'"index":0'), (b'"index":', b'"index":-'),
                    (b'"index":', b'"index":1e0,"index":'), (b'"index":', b'"index":true,"was":'), (b"0", b"0.0"),
                    (b"1", b"1e2"), (b"1", b"9007199254740992"), (b"1", b"9007199254740991"), (b"1", b"1" * 5_000),
                    (b"{", b"["), (b"}", b"}}"), (b"}", b"} "), (b"a", b"\\u0061"), (b"a", "\u00e4".encode()),
                    (b"a", b"\xff"), (b"a", b"\0"), (b'"type":', b'"type":"x","type":'), (b"Z", b"+00:00"),
                    (b"20", b"00"), (b"null", b"NaN"), (b'""', b"null"), (b"true", b"1"), (b"1", b"true"),
                    (b"[", b"[" * 3_000), (b'"registry_size":', b'"proposal":null,"registry_size":'),
                    (b'"pool":', b'"people_leaf":0,"pool":'), (b"1", b"-0"), (b"a", b"\x7f"), (b"a", b"\\u001f"),
                ]
            )
        )  # fmt: skip
        entry = entry.replace(old, new, draw(st.sampled_from([1, -1])))
    encoding = draw(st.sampled_from(["", "", "", "", "utf-16", "utf-16-le", "utf-32-be", "utf-8-sig"]))
    return entry.decode("latin-1").encode(encoding, "replace") if encoding else entry


def decoded(entry: bytes) -> object:
    """The leaf of an entry, or why it is none."""
    try:
        return decode(entry, CONTENTS)
    except LedgerCorruptError as error:
        return str(error)


def never_quickly(_: bytes) -> Any:
    raise ValueError


@settings(max_examples=300)
@given(almost_entries())
def test_entries_of_plain_values_are_read_as_all_others_are(entry: bytes) -> None:
    """Rule: an entry has one spelling; what reads the usual ones faster takes no other, and says the same of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(canonical, "from_json", never_quickly)
        expected = decoded(entry)
    assert decoded(entry) == expected
