"""A uvicorn HTTP protocol that receives bodies straight into the buffers they are written from.

``uvicorn --http vectus.direct:DirectProtocol`` serves any ASGI application with it. One that knows
of it (``vectus.asgi.FrontEnd``) finds, in its scope, a body that is poured without messages, and a
reply that is sent in one piece or by ``sendfile``.
"""

from vectus.direct.protocol import DirectProtocol

__all__ = ["DirectProtocol"]
