"""Commands that run on the service's machine: servers and the database."""
