"""What holds after each leaf: logs folded into who may act, what is declared, and what each account has."""
