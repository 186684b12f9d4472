"""The command line: `main` and one module a command; whatever is heavy is imported inside the commands."""
