"""A tus server without a wire, a disk or a loop: the real dialect and the real rules over a dict.

The client's requests go in as the machine words them, the server's replies come out as the machine
reads them: the two halves of the protocol talk. No fault is made here; see ``weather.py``.
"""

from __future__ import annotations

import hashlib
import zlib
from dataclasses import replace

from vectus.client.commands import Answer
from vectus.protocol import rules
from vectus.protocol.dialects import tus1
from vectus.protocol.dialects.tus1_client import Ask
from vectus.protocol.exchange import (
    Append,
    Appended,
    Create,
    Created,
    Discover,
    Discovered,
    Download,
    Ending,
    Inspect,
    Inspected,
    Intent,
    Outcome,
    Payload,
    Plan,
    Reason,
    Received,
    Refused,
    Terminate,
    Terminated,
)
from vectus.protocol.messages import Head, Headers, Reply, locate
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Upload

HOST = "https://h"
ENDPOINT = f"{HOST}/files/"


def digest(algorithm: str, data: bytes) -> bytes:
    """Hash as both sides do."""
    if algorithm == "crc32":
        return zlib.crc32(data).to_bytes(4, "big")
    return hashlib.new(algorithm, data).digest()


class PureServer:
    """Uploads under ``ENDPOINT``, judged by the rules of the real server."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.policy = policy or Policy()
        self.uploads: dict[str, Upload] = {}
        self.data: dict[str, bytes] = {}
        self.made = 0

    def upload(self, url: str) -> Upload | None:
        """The record of what is at a URL."""
        return self.uploads.get(url.removeprefix(ENDPOINT))

    def content(self, url: str) -> bytes | None:
        """The bytes that are there."""
        return self.data.get(url.removeprefix(ENDPOINT))

    def hold(self, url: str, data: bytes, length: int | None) -> None:
        """Have an upload already."""
        id = url.removeprefix(ENDPOINT)
        upload = Upload(id, length=length, offset=len(data))
        done = upload.complete
        self.uploads[id] = rules.finish(upload, self.policy, 0) if done else upload
        self.data[id] = data

    def cut(self, url: str, offset: int) -> None:
        """Lose every byte from an offset on."""
        id = url.removeprefix(ENDPOINT)
        if id in self.uploads and not self.uploads[id].finished:
            self.data[id] = self.data[id][:offset]
            self.uploads[id] = replace(self.uploads[id], offset=len(self.data[id]))

    def forget(self, url: str) -> None:
        """Have nothing there any more."""
        id = url.removeprefix(ENDPOINT)
        self.uploads.pop(id, None)
        self.data.pop(id, None)

    def answer(self, ask: Ask, url: str, body: bytes = b"", arrived: int | None = None) -> Answer:
        """Answer a request of whose body only ``arrived`` bytes come, if not all."""
        head = head_of(ask, url, len(body))
        try:
            intent = tus1.decode(head, self.policy)
            outcome = self._do(intent, body, arrived)
        except Refused as refused:
            outcome = refused
        return answer_of(tus1.encode(outcome, head, self.policy))

    def _do(self, intent: Intent, body: bytes, arrived: int | None) -> Outcome:
        match intent:
            case Discover():
                return Discovered(self.policy)
            case Create():
                return self._create(intent, body, arrived)
            case Append(id=id):
                plan = rules.admit_append(intent, self._load(id), self.policy, 0)
                return Appended(self._take(id, plan, body, arrived))
            case Inspect(id=id):
                rules.admit(rules.Action.INSPECT, self._load(id), self.policy, 0)
                return Inspected(self._load(id))
            case Download(id=id):
                return rules.admit_download(intent, self._load(id), self.policy, 0)
            case Terminate(id=id):
                self._load(id)
                del self.uploads[id], self.data[id]
                return Terminated()
        raise AssertionError(intent)

    def _load(self, id: str) -> Upload:
        if id not in self.uploads:
            raise Refused(Reason.NOT_FOUND, "There is no such upload.")
        return self.uploads[id]

    def _create(self, intent: Create, body: bytes, arrived: int | None) -> Outcome:
        self.made += 1
        id = f"u{self.made}"
        sources = [self.uploads.get(part) for part in intent.parts]
        upload = rules.admit_create(intent, sources, self.policy, id, 0)
        self.uploads[id], self.data[id] = upload, b"".join(self.data[p] for p in intent.parts)
        self.uploads[id] = replace(upload, offset=len(self.data[id]))
        payload = intent.payload or Payload(0)
        plan = rules.plan(payload, self.uploads[id], upload.length, self.policy)
        try:
            upload = self._take(id, plan, body if intent.payload else b"", arrived)
        except Refused as refused:
            refused.created = id
            raise
        return Created(upload, received=intent.payload is not None)

    def _take(self, id: str, plan: Plan, body: bytes, arrived: int | None) -> Upload:
        upload = self.uploads[id]
        came = body[:arrived]
        checksum = plan.payload.checksum
        received = Received(
            len(came),
            Ending.COMPLETE if len(came) == len(body) else Ending.GONE,
            digest(checksum.algorithm, came) if checksum else None,
            checksum.digest if checksum else None,
        )
        settled = rules.settle(plan, upload, received, self.policy, 0)
        self.data[id] = self.data[id][: plan.start] + came
        self.uploads[id] = settled
        rules.acknowledge(settled, received)
        if settled.complete:
            self.uploads[id] = rules.finish(settled, self.policy, 0)
        return self.uploads[id]


def head_of(ask: Ask, url: str, size: int) -> Head:
    """A request's head as a front end gives it to the server."""
    assert url.startswith(HOST), url
    pairs = [(name.lower(), value) for name, value in ask.headers]
    path = url.removeprefix(HOST)
    return Head(
        ask.method,
        locate(path.removeprefix("/files")),
        Headers([*pairs, ("content-length", str(size))]),
        base="/files/",
        uri=path,
    )


def answer_of(reply: Reply) -> Answer:
    """A reply as the client's driver gives it to the machine."""
    headers = Headers((name.lower(), value) for name, value in reply.headers)
    plain = (headers.get("content-type") or "").startswith("text/plain")
    return Answer(reply.status, headers, reply.body.decode().strip() if plain else "")
