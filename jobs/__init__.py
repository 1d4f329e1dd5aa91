"""What runs: one file per job. The only code that knows the command line, today's date and exit codes."""
