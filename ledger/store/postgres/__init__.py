"""How Postgres is reached: connections, transactions, the work of many done together, and what its errors mean."""
