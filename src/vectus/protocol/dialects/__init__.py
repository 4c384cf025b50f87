"""Dialects: codecs between HTTP and the words of ``protocol.exchange``.

A dialect is a module with ``decode(head, policy)``, which gives an intent or raises ``Refused``,
``encode(outcome, head, policy)``, which gives a reply, and ``claim_of(trailers)``, which reads a
checksum that came after the bytes. No dialect knows the rules.
"""
