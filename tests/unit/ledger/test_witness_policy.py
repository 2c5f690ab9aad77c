"""Policies about witnesses, in the form of C2SP tlog-policy."""

from __future__ import annotations

from itertools import combinations
from typing import Final

import pytest

from ledger.errors import FormatError
from ledger.log.note_keys import SignatureType, SigningKey, VerifierKey
from ledger.log.witness_policy import MAX_POLICY_BYTES, all_of, parse_policy, witnesses_of

LOG: Final = SigningKey("log.example", bytes(32)).verifier_key


def witness(number: int) -> VerifierKey:
    return SigningKey(f"w{number}.example", bytes([number] * 32), SignatureType.COSIGNATURE).verifier_key


W: Final = {number: witness(number) for number in range(1, 7)}

EXAMPLE: Final = f"""
# The example of the specification.
log {LOG} https://log.example/

witness X1 {W[1]}
witness X2 {W[2]} https://w2.example
\twitness\tX3  {W[3]}\t
group X-witnesses 2 X1 X2 X3

witness Y1 {W[4]}
witness Y2 {W[5]}
witness Y3 {W[6]}
group Y-witnesses any Y1 Y2 Y3

group X-and-Y all X-witnesses Y-witnesses
quorum X-and-Y
"""


def test_the_example_asks_for_two_of_the_one_group_and_one_of_the_other() -> None:
    policy = parse_policy(EXAMPLE.encode())
    assert policy.logs == (LOG,)
    assert witnesses_of([policy]) == tuple(W.values())
    assert policy.fewest == 3
    for count in range(7):
        for cosigned in combinations(range(1, 7), count):
            of_x, of_y = sum(number <= 3 for number in cosigned), sum(number > 3 for number in cosigned)
            assert policy.is_met([W[number] for number in cosigned]) == (of_x >= 2 and of_y >= 1)


def test_no_witness_may_be_asked_for() -> None:
    policy = parse_policy(b"quorum none\n")
    assert policy.is_met([])
    assert policy.fewest == 0
    assert str(policy) == "none"


def test_one_witness_may_be_the_quorum() -> None:
    policy = parse_policy(f"witness w {W[1]}\nquorum w".encode())
    assert policy.is_met([W[1]])
    assert not policy.is_met([W[2]])
    assert str(policy) == "w"


@pytest.mark.parametrize("k", [1, 2, 3])
def test_k_of_n_is_said_in_words(k: int) -> None:
    lines = "".join(f"witness w{number} {W[number]}\n" for number in (1, 2, 3))
    policy = parse_policy(f"{lines}group all-three {k} w1 w2 w3\nquorum all-three\n".encode())
    assert str(policy) == f"{'all' if k == 3 else k} of (w1, w2, w3)"
    assert policy.fewest == k
    assert policy.is_met([W[1], W[2], W[3]][:k])
    assert not policy.is_met([W[1], W[2], W[3]][: k - 1])


def test_a_key_of_another_name_is_another_witness() -> None:
    policy = parse_policy(f"witness w {W[1]}\nquorum w".encode())
    assert not policy.is_met([VerifierKey("other.example", W[1].public_key, SignatureType.COSIGNATURE)])


def test_all_of_some_keys_are_all_of_them() -> None:
    policy = all_of([W[1], W[2], W[1]])
    assert policy.is_met([W[1], W[2]])
    assert not policy.is_met([W[1]])
    assert str(policy) == "all of (w1.example, w2.example)"
    assert all_of([]).is_met([])
    same_name = SigningKey("w1.example", bytes(31) + b"\1", SignatureType.COSIGNATURE).verifier_key
    assert not all_of([W[1], same_name]).is_met([W[1]])


@pytest.mark.parametrize("key", [LOG])
def test_a_log_s_key_is_not_a_witness_s(key: VerifierKey) -> None:
    with pytest.raises(FormatError):
        all_of([key])


def test_names_are_bytes_that_no_one_need_understand() -> None:
    text = f"witness \u212a {W[1]}\nwitness K {W[2]}\n".encode() + f"witness \xff {W[3]}\nquorum \xff\n".encode(
        "latin-1"
    )
    assert parse_policy(text).is_met([W[3]])


W1: Final = f"witness w1 {W[1]}\n"
W2: Final = f"witness w2 {W[2]}\n"


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        ("", "", "no quorum"),
        (W1, "", "no quorum"),
        ("quorum\n", " line 1", "is not a log"),
        ("quorum w1\n" + W1, " line 1", "was not defined before"),
        (W1 + "quorum w1\nquorum w1\n", " line 3", "second quorum"),
        ("quorum none\nquorum none\n", " line 2", "second quorum"),
        (W1 + "quorum w1 w1\n", " line 2", "is not a log"),
        (W1 + W1 + "quorum w1\n", " line 2", "is taken"),
        (W1 + f"witness other {W[1]}\nquorum w1\n", " line 2", "key of another"),
        (f"witness none {W[1]}\nquorum none\n", " line 1", "is taken"),
        (f"witness w1 {LOG}\nquorum w1\n", " line 1", "not the key of a witness"),
        ("witness w1 x\nquorum w1\n", " line 1", "key id"),
        ("witness w1\nquorum none\n", " line 1", "is not a log"),
        (f"log {W[1]}\nquorum none\n", " line 1", "not the key of a log"),
        (f"log {LOG}\nlog {LOG}\nquorum none\n", " line 2", "another log"),
        (W1 + "group g all\nquorum g\n", " line 2", "is not a log"),
        (W1 + "group g some w1\nquorum g\n", " line 2", "any, all or a number"),
        (W1 + "group g 0 w1\nquorum g\n", " line 2", "must be 1 to 1"),
        (W1 + "group g 2 w1\nquorum g\n", " line 2", "must be 1 to 1"),
        (W1 + "group g -1 w1\nquorum g\n", " line 2", "any, all or a number"),
        (W1 + "group g \u0661 w1\nquorum g\n", " line 2", "any, all or a number"),
        (W1 + "group g 1" + "0" * 5000 + " w1\nquorum g\n", " line 2", "any, all or a number"),
        (W1 + "group g any w1 w1\nquorum g\n", " line 2", "is already in a group"),
        (W1 + W2 + "group g any w1\ngroup h any w1 w2\nquorum h\n", " line 4", "is already in a group"),
        (W1 + "group g any g\nquorum g\n", " line 2", "was not defined before"),
        (W1 + "group g any none\nquorum g\n", " line 2", "was not defined before"),
        (W1 + "group w1 any w1\nquorum w1\n", " line 2", "is taken"),
        (W1 + "quorum w1\r\n", "", "control character"),
        ("quorum none\x7f\n", "", "control character"),
        ("quorum none # really\n", " line 1", "is not a log"),
        ("nothing\n", " line 1", "is not a log"),
    ],
)
def test_what_is_no_policy_is_refused_with_its_line(text: str, line: str, reason: str) -> None:
    with pytest.raises(FormatError) as caught:
        parse_policy(text.encode())
    assert caught.value.subject == f"witness policy{line}"
    assert reason in caught.value.reason


def test_a_policy_has_an_end() -> None:
    with pytest.raises(FormatError):
        parse_policy(b"#" * (MAX_POLICY_BYTES + 1))


def test_groups_of_groups_take_no_stack() -> None:
    lines = [W1.strip(), "group g0 any w1", *(f"group g{at} all g{at - 1}" for at in range(1, 3000)), "quorum g2999"]
    assert parse_policy("\n".join(lines).encode()).is_met([W[1]])
