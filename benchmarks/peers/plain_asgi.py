"""Runs vectus as an ASGI application on an unchanged uvicorn, without the fast path."""

from __future__ import annotations

import argparse

import uvicorn

from vectus import Uploads


def main() -> None:
    """Serve a directory under ``/files/``, with TLS if there is a certificate."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--dir", required=True)
    parser.add_argument("--tls-cert")
    parser.add_argument("--tls-key")
    options = parser.parse_args()
    uvicorn.run(
        Uploads(options.dir, base_path="/files/", durability="none", direct=False),
        port=options.port,
        http="httptools",
        loop="uvloop",
        log_level="warning",
        access_log=False,
        ssl_certfile=options.tls_cert,
        ssl_keyfile=options.tls_key,
    )


if __name__ == "__main__":
    main()
