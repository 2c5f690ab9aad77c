"""Exports of a pool, made from its log and bodies alone: static files, tables in Parquet, and books.

`source` reads the log and `past` knows what later leaves refer to, for all three: `tiles/` writes static files and
bundles, `parquet/` keeps a folder of tables up to date, and `books/` makes leaves into transactions for Beancount and
hledger.
"""
