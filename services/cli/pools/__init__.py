"""Commands about pools: usage, revenue, accounts, payments, keys, memberships."""
