"""Lockers: who may write to an upload now. One file per technology; ``line`` is what they share.

Nothing in here knows requests, stores or what a holder does with its lease.
"""
