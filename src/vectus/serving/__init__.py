"""Running an ASGI application as a program: processes, sockets, signals.

Knows uvicorn and the operating system, and nothing of uploads: what it runs is a ``Site`` that
somebody else puts together.
"""

from vectus.serving.run import serve
from vectus.serving.site import Site, Tls

__all__ = ["Site", "Tls", "serve"]
