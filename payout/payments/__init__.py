"""Paying: accounts and their checks, the files that go to banks, and what comes back from them. Pure.

`details` are accounts, `credit_transfer` writes payment files, `bank_messages` reads what banks send, and `matching`
says what it means for the books.
"""
