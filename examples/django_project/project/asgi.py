"""Django and vectus side by side: uploads under /files/, the rest is Django's.

Run it with `uvicorn project.asgi:application --http vectus.direct:DirectProtocol`.
"""

import os

from django.core import signing
from django.core.asgi import get_asgi_application

from vectus import Rejected, Uploads, events

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "project.settings")

django = get_asgi_application()
uploads = Uploads("./data", base_path="/files/")


@uploads.on(events.BeforeRequest)
def authorise(event: events.BeforeRequest) -> None:
    """Let in whoever shows a ticket of the last hour."""
    try:
        signing.loads(event.request.headers.get("authorization") or "", max_age=3600)
    except signing.BadSignature:
        raise Rejected(401, "Get a ticket first.") from None


async def application(scope, receive, send):
    """Django knows no lifespan, so that is for vectus: it starts and ends the sweeper."""
    ours = scope["type"] == "lifespan" or f"{scope['path']}/".startswith("/files/")
    await (uploads if ours else django)(scope, receive, send)
