"""The spellings that the C2SP formats share: base64, decimals, UTF-8. Each value has exactly one spelling."""

from __future__ import annotations

import base64
import binascii
import re
from typing import Final

from ledger.errors import FormatError
from ledger.log.merkle import HASH_BYTES

MAX_SIZE: Final = 2**63 - 1
"""The largest size, index or timestamp: what a signed 64-bit integer holds."""

MAX_DIGITS: Final = 4_300
"""Decimal digits of the longest integer that is read: a weight has a hundred. Without a most, one takes quadratic time.
"""

_DECIMAL: Final = re.compile(r"0|[1-9][0-9]{0,18}")
_INTEGER: Final = re.compile(rf"0|-?[1-9][0-9]{{0,{MAX_DIGITS - 1}}}")


def encode_base64(data: bytes) -> str:
    """Returns the standard base64 of RFC 4648 section 4, padded."""
    return base64.b64encode(data).decode("ascii")


def decode_base64(text: str, subject: str) -> bytes:
    """Reads back what `encode_base64` returns, and nothing else: no line breaks, other alphabet or spare bits.

    Raises:
        FormatError: the text is not canonical base64.
    """
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise FormatError(subject, "is not base64") from None
    if encode_base64(data) != text:
        raise FormatError(subject, "is not canonical base64")
    return data


def decode_hash(text: str, subject: str) -> bytes:
    """Reads a SHA-256 hash in base64.

    Raises:
        FormatError: the text is not canonical base64, or not of 32 bytes.
    """
    data = decode_base64(text, subject)
    if len(data) != HASH_BYTES:
        raise FormatError(subject, f"must have {HASH_BYTES} bytes, got {len(data)}")
    return data


def decode_decimal(text: str, subject: str) -> int:
    """Reads a number from 0 to `MAX_SIZE` in ASCII decimal digits without leading zeros.

    Raises:
        FormatError: the text is anything else.
    """
    if not _DECIMAL.fullmatch(text) or int(text) > MAX_SIZE:
        raise FormatError(subject, f"must be a decimal from 0 to {MAX_SIZE} without leading zeros, got {text[:40]!r}")
    return int(text)


def parse_integer(text: str) -> int:
    """Reads an integer in plain decimal, of at most `MAX_DIGITS` digits.

    Raises:
        ValueError: the text is anything else.
    """
    if not _INTEGER.fullmatch(text):
        raise ValueError(f"must be an integer in plain decimal of at most {MAX_DIGITS:,} digits, got {text[:40]!r}")
    return int(text)


def decode_utf8(data: bytes, subject: str) -> str:
    """Reads UTF-8 without ASCII control characters other than newline.

    Raises:
        FormatError: the bytes are not UTF-8, or contain a control character.
    """
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise FormatError(subject, "is not UTF-8") from None
    if not is_printable(text.replace("\n", "")):
        raise FormatError(subject, "contains a control character")
    return text


def is_printable(text: str) -> bool:
    """Returns whether the text has no ASCII control characters, newline included, and can be written in UTF-8."""
    return not any(character < " " or "\ud800" <= character <= "\udfff" for character in text)
