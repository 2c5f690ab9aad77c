"""Exports of a pool, made from its log and bodies alone: tables in Parquet, and books for Beancount and hledger.

`source` reads the log, `past` knows what later leaves refer to, `schema` names the tables, `rows` makes a leaf into
rows, `parquet` keeps a folder of files up to date; `books` makes leaves into transactions, which `beancount` and
`hledger` write down.
"""
