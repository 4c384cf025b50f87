"""How objects are kept: encryption, storage class, tags, ACL, type and name, whatever way an object
is made; and what happens where a server does not heed them."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

import ceph
import httpx2
import pytest
from s3_faults import FaultyGateway
from s3_places import LEAST, make_place
from s3_steps import objects, unfinished

from vectus.errors import StoreUnavailable
from vectus.protocol.policy import Policy
from vectus.protocol.upload import Role, Upload
from vectus.stores.s3.place import Place
from vectus.stores.s3.store import S3Store
from vectus.testing.stores import FULL, bytes_of, fill, pattern
from world import World

METADATA = ",".join(
    f"{key} {base64.b64encode(value.encode()).decode()}"
    for key, value in {"filename": "ü.mp4", "filetype": "video/mp4"}.items()
)
HEADERS = {
    "ContentType": "video/mp4",
    "ContentDisposition": "attachment; filename*=UTF-8''%C3%BC.mp4",
}
SIZES = {"empty": 0, "in one piece": 1000, "in parts": 2 * LEAST, "parts and a tail": 2 * LEAST + 9}
EVERYTHING: dict[str, Any] = {
    "storage_class": "STANDARD",
    "sse": "aws:kms",
    "sse_key": ceph.KMS_KEY,
    "acl": "public-read",
    "tags": "team=films&with+space=a%26b&empty=",
}
TAGS = {"team": "films", "with space": "a&b", "empty": ""}


@dataclass(frozen=True, slots=True)
class Site:
    """A store, the door to its server, and an engine over it."""

    store: S3Store
    gateway: FaultyGateway
    world: World

    @property
    def place(self) -> Place:
        """Where it is."""
        return self.store.place

    def ask(self, operation: str, name: str) -> dict[str, Any]:
        """Ask the server about an object."""
        where = {"Bucket": self.place.bucket, "Key": f"{self.place.prefix}/{name}"}
        answer: dict[str, Any] = getattr(self.gateway._client, operation)(**where)
        return answer

    def tags(self, name: str) -> dict[str, str]:
        """Return an object's tags."""
        found = self.ask("get_object_tagging", name)
        return {each["Key"]: each["Value"] for each in found.get("TagSet", ())}

    def is_public(self, name: str) -> bool:
        """Whether anybody may read an object."""
        grants = self.ask("get_object_acl", name)["Grants"]
        return any("AllUsers" in grant["Grantee"].get("URI", "") for grant in grants)

    async def made(self) -> dict[str, str]:
        """Make objects in every way there is; return their ids."""
        ids = {
            how: await self.world.done(pattern(size), upload_metadata=METADATA) if size else ""
            for how, size in SIZES.items()
        }
        ids["empty"] = await self.world.create(0, upload_metadata=METADATA)
        parts = [await self.world.partial(pattern(size)) for size in (LEAST + 1, 70, LEAST)]
        urls = [f"/files/{part}" for part in parts]
        ids["joined"] = await self.world.final(*urls, upload_metadata=METADATA)
        ids["joined of nothing"] = await self.world.final(
            f"/files/{await self.world.partial(length=0)}", upload_metadata=METADATA
        )
        for how in ("joined", "joined of nothing"):
            await self.world.until_finished(ids[how])
        return ids


Open = Callable[..., Any]


@pytest.fixture
async def at(request: pytest.FixtureRequest) -> AsyncIterator[Open]:
    """Open a site at a server, with options."""
    async with AsyncExitStack() as stack:

        async def make(server: str, **options: Any) -> Site:
            where = make_place(request.getfixturevalue(server))
            if server == "rgw":
                where = replace(where, smallest=LEAST, part_size=LEAST)
            return await stack.enter_async_context(site(replace(where, **options)))

        yield make


@asynccontextmanager
async def site(where: Place) -> AsyncIterator[Site]:
    gateway = FaultyGateway(where)
    store = S3Store(where, gateway)
    world = World(store)
    yield Site(store, gateway, world)
    await world.aclose()
    gateway.close()


async def test_every_object_is_kept_as_asked(at: Open) -> None:
    """Whatever way an object is made, it has type and name, tags and ACL, and is encrypted; and its
    bytes are right."""
    there = await at("rgw", **EVERYTHING)
    for how, id in (await there.made()).items():
        head = there.ask("head_object", id)
        assert {name: head.get(name) for name in HEADERS} == HEADERS, how
        assert head["ServerSideEncryption"] == "aws:kms", how
        assert head["SSEKMSKeyId"] == ceph.KMS_KEY
        assert there.tags(id) == TAGS, how
        assert there.is_public(id), how
        if how in SIZES:
            assert await bytes_of(there.store, id) == pattern(SIZES[how]), how
        elif how == "joined":
            joined = pattern(LEAST + 1) + pattern(70) + pattern(LEAST)
            assert await bytes_of(there.store, id) == joined


async def test_everything_else_is_encrypted_too(at: Open) -> None:
    """Records, tails and notes are as secret as the bytes, and nothing more is said of them."""
    there = await at("rgw", **EVERYTHING)
    upload = await there.world.create(3 * LEAST)
    assert (await there.world.patch(upload, 0, pattern(LEAST + 7))).status == 204
    part = await there.world.create(5, upload_concat="partial")
    await there.world.final(f"/files/{part}")
    names = objects(there.gateway, there.place).keys()
    assert {name.partition("/")[0] for name in names} >= {f"{upload}.part", ".joins"}

    for name in names:
        assert there.ask("head_object", name)["ServerSideEncryption"] == "aws:kms", name
        assert not there.is_public(name), name
        assert there.tags(name) == {}, name


async def test_partials_are_not_made_to_stay(at: Open) -> None:
    """A partial is read again when it is joined, which some storage classes forbid, and is no
    finished upload of anybody's: it is encrypted, and that is all."""
    there = await at("rgw", **EVERYTHING)
    for size in (100, 2 * LEAST + 1):
        part = await there.world.partial(pattern(size))
        assert there.ask("head_object", part)["ServerSideEncryption"] == "aws:kms"
        assert there.tags(part) == {}
        assert not there.is_public(part)
    begun = [sent for name, _, sent in there.gateway.log if name == "create_multipart_upload"]

    assert not any({"StorageClass", "ACL", "Tagging"} & sent.keys() for sent in begun)


async def test_a_storage_class(at: Open) -> None:
    """Finished uploads get it, in one piece, in parts and joined; nothing else does."""
    there = await at("moto", storage_class="STANDARD_IA", sse="AES256")
    part = await there.world.partial(b"part")
    final = await there.world.final(f"/files/{part}")
    await there.world.until_finished(final)
    whole = await there.world.done(b"small")
    large = await there.world.done(pattern((5 << 20) + 1))
    listed = there.gateway._client.list_objects_v2(
        Bucket=there.place.bucket, Prefix=f"{there.place.prefix}/"
    )["Contents"]
    classes = {each["Key"].rpartition("/")[2]: each["StorageClass"] for each in listed}

    assert {classes.pop(id) for id in (final, whole, large)} == {"STANDARD_IA"}
    assert set(classes.values()) == {"STANDARD"}
    assert part in classes
    for name in (*classes, final, whole, large):
        assert there.ask("head_object", name)["ServerSideEncryption"] == "AES256", name


async def test_a_server_that_does_not_encrypt(at: Open) -> None:
    """RGW takes ``sse=AES256`` and stores what it gets as it is. That is noticed before there is an
    upload: clients are told to come later, and nothing is left."""
    there = await at("rgw", sse="AES256")
    assert (await there.world.ask("POST", upload_length=5)).status == 503
    with pytest.raises(StoreUnavailable, match="does not encrypt as sse=AES256"):
        await there.store.create(replace(FULL, offset=4, length=4, finished=True), b"kept")

    assert objects(there.gateway, there.place) == {}
    assert unfinished(there.gateway, there.place) == []


@pytest.mark.parametrize("when", ["before", "after"])
async def test_tags_are_not_lost_by_a_failure(at: Open, when: str) -> None:
    """RGW drops the tags a multipart upload was begun with, so they are given once more; until they
    are there the upload is not finished, and is driven on."""
    there = await at("rgw", tags="a=1")
    data = pattern(2 * LEAST)
    id = await there.world.create(len(data))
    there.gateway.fault = lambda operation, _: when if "tagging" in operation else None
    assert (await there.world.patch(id, 0, data)).status == 503
    assert (await there.world.ask("HEAD", id)).status == 423
    there.gateway.heal()

    assert await there.world.offset(id) == len(data)
    assert there.tags(id) == {"a": "1"}


async def test_nothing_is_called_for_what_is_not_asked(at: Open) -> None:
    """Without tags nobody is asked about any; with them, once for an object made of parts."""
    for tags, calls in ((None, 0), ("a=1", 1)):
        there = await at("rgw", tags=tags)
        await there.world.done(pattern(2 * LEAST))
        await there.world.done(b"in one piece")
        asked = [name for name, *_ in there.gateway.log if "tagging" in name]
        assert len(asked) == calls


async def test_a_redirect_to_what_is_encrypted(at: Open) -> None:
    """A presigned URL gives the bytes of an encrypted upload, with the type that it is told."""
    there = await at("rgw", **EVERYTHING)
    world = World(there.store, policy=Policy(redirect=True))
    world.engine.store = there.store
    id = await world.done(pattern(2 * LEAST), upload_metadata=METADATA)
    url = (await world.ask("GET", id)).header("Location")
    answer = httpx2.get(url, timeout=30, trust_env=False)
    assert answer.content == pattern(2 * LEAST)
    assert answer.headers["content-type"] == "video/mp4"
    await world.progress.aclose()


async def test_partials_of_a_store_are_filled(at: Open) -> None:
    """The suite's own steps work on an encrypted store, too: joins copy what is encrypted."""
    there = await at("rgw", sse="aws:kms", sse_key=ceph.KMS_KEY)
    await fill(there.store, Upload("part", Role.PARTIAL), pattern(2 * LEAST))
    part = await there.store.load("part")
    final = Upload("final", Role.FINAL, 4 * LEAST, parts=("part", "part"))
    await there.store.create(final)
    await there.store.join(final, [part, part], take_over=False)
    await there.store.save(replace(final, offset=4 * LEAST, finished=True))

    assert await bytes_of(there.store, "final") == 2 * pattern(2 * LEAST)
    assert [name for name, *_ in there.gateway.log if name == "upload_part_copy"]
