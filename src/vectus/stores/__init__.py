"""Where uploads are kept: one module per technology, each a ``contracts.Store``.

Stores know bytes and records. Nothing in here knows HTTP, a dialect, the engine or the lockers.
"""
