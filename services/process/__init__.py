"""The processes: server, workers, scheduler, embedded Postgres, logs."""
