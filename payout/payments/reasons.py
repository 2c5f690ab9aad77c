"""Why banks reject and return payments: ISO 20022's codes in words."""

from __future__ import annotations

from typing import Final

_WORDS: Final = {
    "AC01": "the account number is wrong",
    "AC03": "the account number is not valid",
    "AC04": "the account is closed",
    "AC06": "the account is blocked",
    "AC13": "the account is of a kind that cannot be paid to",
    "AG01": "the account may not take this kind of payment",
    "AG02": "the bank does not know this kind of transaction",
    "AM01": "the amount is zero",
    "AM02": "the amount is larger than the account allows",
    "AM04": "the paying account has too little money",
    "AM05": "the bank takes it for a duplicate",
    "AM09": "the amount is not the one that was agreed",
    "BE01": "the name does not match the account",
    "BE04": "the holder's address is missing or wrong",
    "BE05": "the bank does not know who sent it",
    "CNOR": "the holder's bank cannot be reached in this system",
    "CUST": "it was called back by who sent it",
    "DNOR": "the paying bank cannot be reached in this system",
    "DT01": "the day is not valid",
    "DUPL": "it was paid twice",
    "ED05": "the settlement failed",
    "FF01": "the file's form is wrong",
    "FOCR": "it was called back after it was paid",
    "FRAD": "it is suspected of fraud",
    "MD07": "the holder has died",
    "MS02": "the holder refused it",
    "MS03": "the bank gives no reason",
    "NOAS": "the holder did not answer",
    "RC01": "the bank's BIC is wrong",
    "RR01": "the paying account's number is missing",
    "RR02": "the payer's name or address is missing",
    "RR03": "the holder's name or address is missing",
    "RR04": "the law forbids it",
    "TECH": "a technical problem",
    "TM01": "it came after the bank's closing time",
    "UPAY": "it was not owed",
}


def in_words(code: str, said: str = "") -> str:
    """Returns a reason for people: what the code means, the code, and what the bank added.

    Args:
        code: ISO 20022's, such as AC04; empty where the bank gives none.
        said: free text of the bank.
    """
    meaning = _WORDS.get(code, "")
    parts = [f"{meaning} ({code})" if meaning else code or "the bank gives no reason", said]
    return ": ".join(part for part in parts if part)
