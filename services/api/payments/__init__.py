"""The payments service: payees, pay runs and banks' files."""
