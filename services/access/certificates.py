"""Client certificates: what a key of that kind has in place of a secret's hash."""

from __future__ import annotations

from functools import lru_cache
from hashlib import sha256
from typing import Final

from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from cryptography.x509 import load_der_x509_certificate, load_pem_x509_certificate

from ledger.errors import InvalidInputError

_REMEMBERED: Final = 1024
"""Certificates whose hashes are kept: a caller has the same one in each call."""


@lru_cache(_REMEMBERED)
def certificate_hash(certificate: bytes) -> str:
    """Returns the SHA-256 of a certificate's public key (SubjectPublicKeyInfo, as RFC 7469 pins it), in hexadecimal.

    A certificate that is renewed for the same private key has the same hash, and stays the same key.

    Args:
        certificate: in PEM or DER.

    Raises:
        InvalidInputError: it is no certificate.
    """
    try:
        is_pem = certificate.lstrip().startswith(b"-----")
        read = load_pem_x509_certificate if is_pem else load_der_x509_certificate
        public_key = read(certificate).public_key()
        return sha256(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
    except Exception:  # noqa: BLE001  # what it raises for a hostile file depends on where the file is wrong
        raise InvalidInputError.of("certificate", "must be an X.509 certificate, in PEM or DER") from None
