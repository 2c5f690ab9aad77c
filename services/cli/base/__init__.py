"""What every command shares: connection, output, exit codes."""
