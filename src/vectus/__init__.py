"""Resumable uploads for Python: a tus 1.0.0 server, and a command line."""

__version__ = "0.1.0.dev0"
