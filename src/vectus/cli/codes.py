"""The exit codes of every command. Of several files or URLs, the highest counts."""

OK = 0
"""Done."""
FAILED = 1
"""The server refused, or something failed that no other code tells."""
USAGE = 2
"""It cannot be as asked: a wrong argument, a missing file, a taken port."""
UNREACHABLE = 3
"""The server could not be reached, or kept failing, in spite of trying again."""
INTERRUPTED = 130
"""Ended by Ctrl-C."""

EPILOG = """Exit codes: 0 done, 1 refused or failed, 2 it cannot be as asked, 3 the server could not
be reached, 130 stopped by Ctrl-C; of several, the highest."""
