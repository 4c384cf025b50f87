"""Which kind of source something is, and the sentences for what is none."""

from __future__ import annotations

import asyncio
import io
import os
import tempfile

import pytest

from vectus.client.sources import open_async_source, open_source
from vectus.errors import SourceChanged, SourceError


async def nothing():
    return
    yield


class AsyncFile:
    async def read(self, count):
        return b""


@pytest.mark.parametrize("given", [nothing, AsyncFile, asyncio.StreamReader])
async def test_what_must_be_awaited_is_no_matter_of_the_blocking_client(given):
    """The sentence names the client that takes it."""
    with pytest.raises(TypeError, match="AsyncClient"):
        open_source(given())


def test_a_read_that_turns_out_to_be_async_is_told():
    """One whose kind shows only when it is called."""

    class Sly:
        def read(self, count):
            return AsyncFile().read(count)

    with pytest.raises(SourceError, match="AsyncClient"):
        open_source(Sly()).hold(0, 1)


@pytest.mark.parametrize("opening", [open_source, open_async_source])
class TestBothSidesRefuse:
    @staticmethod
    def test_text_files(opening, tmp_path):
        """The sentence says how to open it instead."""
        path = tmp_path / "a.txt"
        path.write_text("x")
        with path.open() as file, pytest.raises(TypeError, match="'rb'"):
            opening(file)
        with pytest.raises(TypeError, match="'rb'"):
            opening(io.StringIO("x"))

    @staticmethod
    @pytest.mark.parametrize("given", [None, 5, object()])
    def test_what_has_no_bytes(opening, given):
        """The sentence says what can be uploaded."""
        with pytest.raises(TypeError, match="a path, bytes"):
            opening(given)

    @staticmethod
    def test_a_missing_file(opening, tmp_path):
        """A sentence and a hint."""
        with pytest.raises(SourceError, match=r"There is no file .*none") as refused:
            opening(tmp_path / "none")
        assert refused.value.hint

    @staticmethod
    def test_a_directory(opening, tmp_path):
        """It has no bytes of its own; the hint says what does it."""
        with pytest.raises(SourceError, match="is a directory") as refused:
            opening(str(tmp_path))
        assert "-r" in refused.value.hint

    @staticmethod
    def test_a_file_that_may_not_be_read(opening, tmp_path, monkeypatch):
        """A sentence and a hint; who runs the tests may be one who reads everything."""

        class Refusing(io.FileIO):
            def __init__(self, path):
                raise PermissionError(13, "Permission denied", path)

        path = tmp_path / "secret"
        path.touch(0)
        monkeypatch.setattr(io, "FileIO", Refusing)
        with pytest.raises(SourceError, match="may not be read") as refused:
            opening(path)
        assert refused.value.hint

    @staticmethod
    @pytest.mark.parametrize("path", ["a\0b", "x" * 5000])
    def test_what_can_be_no_path(opening, path):
        """The system's own words are passed on."""
        with pytest.raises(SourceError, match="cannot be opened"):
            opening(path)

    @staticmethod
    def test_a_closed_file(opening):
        """It is closed already; nobody reads it."""
        file = io.BytesIO(b"x")
        file.close()
        with pytest.raises(SourceError, match="is closed"):
            opening(file)

    @staticmethod
    def test_a_file_for_writing(opening, tmp_path):
        """The sentence says how to open it instead."""
        with (
            (tmp_path / "out").open("wb") as file,
            pytest.raises(SourceError, match=r"not open for reading.*'rb'"),
        ):
            opening(file)

    @staticmethod
    def test_a_file_at_its_end(opening):
        """What was just written and not rewound, or just uploaded, is not uploaded as nothing."""
        file = io.BytesIO()
        file.write(b"abc")
        with pytest.raises(SourceError, match=r"at its end.*seek\(0\)"):
            opening(file)

    @staticmethod
    def test_a_length_below_nothing(opening):
        """It is the caller's slip."""
        with pytest.raises(ValueError, match="-1"):
            opening([b""], length=-1)

    @staticmethod
    def test_a_length_that_is_wrong(opening):
        """What knows its length is not cut, and not waited for."""
        assert opening(b"abc", length=3).length == 3
        with pytest.raises(SourceError, match="3 bytes, but 2 were announced"):
            opening(b"abc", length=2)


def test_a_text_file_in_disguise_is_found_when_it_is_read():
    """Wrappers of text files are not known as such."""
    with tempfile.NamedTemporaryFile("w+") as file:
        file.write("abc")
        file.seek(0)
        source = open_source(file)
        with pytest.raises(SourceError, match="text instead of bytes"):
            list(source.blocks(0, 3))


def test_a_file_that_is_filled_while_it_is_opened(tmp_path, monkeypatch):
    """It is a file like others, not a stream that ends where its writer is at that moment."""
    path = tmp_path / "film"
    path.touch()

    class Filled(io.FileIO):
        def read(self, size=-1):
            with path.open("ab") as writer:
                writer.write(b"the first half")
            return super().read(size)

    with monkeypatch.context() as patch:
        patch.setattr(io, "FileIO", Filled)
        source = open_source(path)
    with path.open("ab") as writer:
        writer.write(b", and the second")

    with pytest.raises(SourceChanged):
        list(source.blocks(0, source.hold(0, 1000).stop))
    source.close()


def test_names_are_what_a_sentence_can_use(tmp_path):
    """A path, what the caller said, or the kind of thing; never what a terminal would obey."""
    path = tmp_path / "a\x1b[2J\udce4.bin"
    path.write_bytes(b"x")
    with path.open("rb") as file, os.fdopen(os.dup(file.fileno()), "rb") as numbered:
        names = [open_source(each).name for each in (file, numbered, b"", [b""], io.BytesIO())]
    source = open_source(path)
    source.close()

    assert source.name == names[0] == str(tmp_path / "a?[2J?.bin")
    assert names[1:] == ["The file", "The data", "The source", "The file"]
    assert open_source(b"", name="The report").name == "The report"
