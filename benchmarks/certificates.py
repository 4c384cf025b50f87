"""A certificate for 127.0.0.1 that lives as long as the run."""

from __future__ import annotations

from pathlib import Path

from benchmarks.known import Certificate


def certificate(directory: Path) -> Certificate:
    """Write certificate, key and authority into a directory, and return their names."""
    import trustme  # only this case needs it

    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    files = Certificate(*(str(directory / f"{name}.pem") for name in ("cert", "key", "ca")))
    issued.cert_chain_pems[0].write_to_path(files.cert)
    issued.private_key_pem.write_to_path(files.key)
    authority.cert_pem.write_to_path(files.ca)
    return files
