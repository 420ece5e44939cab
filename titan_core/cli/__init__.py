"""The operator's command line: a registry of commands, and the shell around it."""
