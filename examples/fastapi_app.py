"""A FastAPI application that takes uploads from whoever has the token.

Run it with `uvicorn fastapi_app:app --http vectus.direct:DirectProtocol`.
"""

from contextlib import asynccontextmanager

from fastapi import FastAPI

from vectus import Rejected, Uploads, events

TOKEN = "let-me-in"

uploads = Uploads("./data", max_size="5GiB", expire_after="7d")
finished: list[str] = []


@uploads.on(events.BeforeRequest)
async def authorise(event: events.BeforeRequest) -> None:
    """Told of every request before a byte of its body is read."""
    if event.request.headers.get("authorization") != f"Bearer {TOKEN}":
        raise Rejected(401, "Who are you?", {"WWW-Authenticate": "Bearer"})


@uploads.on(events.Finished)
def remember(event: events.Finished) -> None:
    """Told once of every upload that is complete and safe on disk."""
    finished.append(event.upload.id)


@asynccontextmanager
async def lifespan(_: FastAPI):
    async with uploads:
        yield


app = FastAPI(lifespan=lifespan)
app.mount("/files", uploads)


@app.get("/finished")
async def list_finished() -> list[str]:
    return finished
