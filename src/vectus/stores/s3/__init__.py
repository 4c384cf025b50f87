"""Uploads in a bucket of any S3 server.

What stands where: ``place`` reads the URL, ``client`` is the one door to S3 and ``bucket`` its
words, ``parts`` and ``layout`` decide without doing, ``record`` words the records, ``vault`` does
one step of an upload at a time, ``sink``, ``room`` and ``spool`` take bytes in, ``ledger``,
``joining`` and ``walk`` are about many uploads, and ``store`` is what the engine sees.
"""
