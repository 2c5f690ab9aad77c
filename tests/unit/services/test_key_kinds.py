"""Which kinds of keys may be asked for."""

from __future__ import annotations

import pytest

from ledger.acts.entries import KeyKind
from ledger.errors import InvalidInputError
from moiety.v1 import registry_pb2 as pb
from services.api.convert.parties import api_key_from_proto


def asked(kind: pb.KeyKind.ValueType, issuer: str = "") -> pb.ApiKey:
    return pb.ApiKey(principal="platforms/acme", kind=kind, issuer=issuer)


def test_a_key_is_a_secret_unless_said_otherwise() -> None:
    assert api_key_from_proto("k", asked(pb.KEY_KIND_UNSPECIFIED)).kind is KeyKind.SECRET


@pytest.mark.parametrize(
    ("kind", "issuer", "field"),
    [
        (pb.KEY_KIND_CERTIFICATE, "https://id.example", "api_key.issuer"),
        (pb.KEY_KIND_IDENTITY, "", "api_key.issuer"),
        (pb.KEY_KIND_SECRET, "https://id.example", "api_key.issuer"),
        (pb.KEY_KIND_IDENTITY, "id.example", "api_key.issuer"),
    ],
)
def test_a_key_that_nobody_could_use_is_refused(kind: pb.KeyKind.ValueType, issuer: str, field: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        api_key_from_proto("k", asked(kind, issuer))
    assert [violation.field for violation in caught.value.violations] == [field]
