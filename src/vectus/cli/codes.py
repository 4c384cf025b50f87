"""The exit codes of every command."""

OK = 0
"""Done."""
FAILED = 1
"""The server refused an upload, or something failed that no other code tells."""
USAGE = 2
"""It cannot be as asked: a wrong argument, a taken port, a directory that cannot be written."""
UNREACHABLE = 3
"""The server could not be reached, or kept failing, in spite of trying again."""
INTERRUPTED = 130
"""Ended by Ctrl-C."""
