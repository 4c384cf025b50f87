"""Nothing that tuspy's users name is missing: compared with the real tuspy by looking at both."""

from __future__ import annotations

import importlib
import inspect
import io
import pickle
import pkgutil
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from vectus.client import tuspy as ours
from vectus.errors import VectusError

tusclient = pytest.importorskip("tusclient", reason="tuspy is not here")

MODULES = [
    info.name.removeprefix("tusclient.")
    for info in pkgutil.walk_packages(tusclient.__path__, "tusclient.")
]
OF_MASTER = ["upload_length_deferred"]
"""Arguments that tuspy has after 1.1.0; with 1.1.0 they come last."""


def both(module: str) -> tuple[ModuleType, ModuleType]:
    """The same module of tuspy and of the shim."""
    theirs = importlib.import_module(f"tusclient.{module}")
    return theirs, importlib.import_module(f"vectus.client.tuspy.{module}")


def own(module: ModuleType) -> dict[str, Any]:
    """The public classes and functions that a module of tuspy defines."""
    return {
        name: thing
        for name, thing in vars(module).items()
        if not name.startswith("_") and getattr(thing, "__module__", None) == module.__name__
    }


def shape(function: Any) -> list[tuple[str, Any, Any]]:
    """Names, kinds and defaults of a function's arguments, in order."""
    parameters = inspect.signature(function).parameters.values()
    return [(each.name, each.kind, each.default) for each in parameters]


@pytest.mark.parametrize("module", MODULES)
def test_every_module_and_name_is_there(module: str) -> None:
    """``tusclient`` becomes ``vectus.client.tuspy`` in every import."""
    theirs, mine = both(module)

    assert [name for name in own(theirs) if not hasattr(mine, name)] == []


@pytest.mark.parametrize(
    ("module", "name"),
    [
        (module, name)
        for module in MODULES
        for name, thing in own(importlib.import_module(f"tusclient.{module}")).items()
        if inspect.isclass(thing)
    ],
)
def test_methods_have_the_same_arguments(module: str, name: str) -> None:
    """Names, order and defaults of every method agree, and what must be awaited is the same."""
    theirs, mine = (getattr(each, name) for each in both(module))
    for method, function in inspect.getmembers(theirs, inspect.isfunction):
        if method.startswith("_") and method != "__init__":
            continue
        found = getattr(mine, method)
        wanted = shape(function)
        if method == "__init__" and [each[0] for each in wanted] == ["self", "args", "kwargs"]:
            continue  # AsyncUploader passes everything on; ours names what it takes
        got = [each for each in shape(found) if each[0] not in OF_MASTER]
        if method == "__init__":
            got = [each for each in got if each[0] != "passing"]  # by name only, and ours
        assert _comparable(got) == _comparable(wanted), method
        assert inspect.iscoroutinefunction(found) == inspect.iscoroutinefunction(function), method


def _comparable(parameters: list[tuple[str, Any, Any]]) -> list[tuple[str, Any, Any]]:
    """An ``AsyncTusRequest`` took anything for its one argument."""
    return [each for each in parameters if each[0] not in {"args", "kwargs", "io_loop", "uploader"}]


def test_arguments_of_master_come_last() -> None:
    """So that positions mean what they meant."""
    names = list(inspect.signature(ours.Uploader).parameters)

    assert names[-1:] == OF_MASTER


@pytest.mark.parametrize("name", ["Uploader", "AsyncUploader"])
def test_attributes_and_constants(name: str) -> None:
    """An uploader has every public attribute that tuspy's has, with the same value at first."""
    theirs, mine = (getattr(each, name) for each in both("uploader"))
    made = [
        package.TusClient("http://a/", {"b": "c"})
        for package in (importlib.import_module("tusclient.client"), ours)
    ]
    old = theirs(file_stream=io.BytesIO(b"abc"), client=made[0])
    new = mine(file_stream=io.BytesIO(b"abc"), client=made[1])
    incomparable = {"client", "file_stream", "fingerprinter"}

    for each in vars(old).keys() - incomparable:
        if not each.startswith("_") or each == "_retried":
            assert getattr(new, each) == getattr(old, each), each
    for each in ("DEFAULT_HEADERS", "DEFAULT_CHUNK_SIZE", "CHECKSUM_ALGORITHM_PAIR"):
        assert getattr(mine, each) == getattr(theirs, each)
    for each in ("checksum_algorithm", "checksum_algorithm_name", "client_cert"):
        assert getattr(new, each) == getattr(old, each)


def test_a_request_s_attributes() -> None:
    """A request has every public attribute that tuspy's has."""
    theirs, mine = both("request")
    old, new = (
        module.TusRequest(package.Uploader(file_stream=io.BytesIO(b"abc"), client=Client()))
        for module, package in ((theirs, both("uploader")[0]), (mine, ours))
    )

    public = {name for name in vars(old) if not name.startswith("_")}
    assert public <= vars(new).keys()
    assert (new.status_code, new.response_headers, new.response_content) == (
        old.status_code,
        old.response_headers,
        old.response_content,
    )


class Client:
    """A client of the user's own make."""

    url = "http://a/"
    headers: dict[str, str] = {}  # noqa: RUF012
    client_cert = None


@pytest.mark.parametrize("name", ["TusCommunicationError", "TusUploadFailed"])
def test_exceptions(name: str) -> None:
    """They say what tuspy's say, are related in the same way, and survive pickling."""
    theirs, mine = (getattr(each, name) for each in both("exceptions"))
    old, new = (each("message", 404, b"content") for each in (theirs, mine))

    assert (str(new), new.status_code, new.response_content) == (
        str(old),
        old.status_code,
        old.response_content,
    )
    assert issubclass(mine, ours.TusCommunicationError)
    assert issubclass(mine, VectusError)
    assert "404" in str(mine("", 404))
    copy = pickle.loads(pickle.dumps(new))
    assert (str(copy), copy.status_code, copy.response_content) == ("message", 404, b"content")


@pytest.mark.parametrize("data", [b"", b"x" * 1000, b"y" * 65_536, bytes(200_000), "tëxt"])
def test_fingerprints_are_the_same(data: bytes | str) -> None:
    """Otherwise no stored URL would be found again."""
    theirs, mine = both("fingerprint.fingerprint")

    def stream() -> Any:
        return io.StringIO(data) if isinstance(data, str) else io.BytesIO(data)

    assert mine.Fingerprint().get_fingerprint(stream()) == (
        theirs.Fingerprint().get_fingerprint(stream())
    )
    assert mine.Fingerprint.BLOCK_SIZE == theirs.Fingerprint.BLOCK_SIZE


def test_fingerprints_tell_files_apart() -> None:
    """By their size, and by their first block."""
    made = {
        ours.Fingerprint().get_fingerprint(io.BytesIO(data))
        for data in (b"a", b"b", b"a" * 70_000, b"a" * 70_001)
    }

    assert len(made) == 4
    assert ours.Fingerprint().get_fingerprint(io.BytesIO(b"x" * 1000)) == (
        "size:1000--md5:398533d48111e9f664b1f64cb10c4b63"
    )


def test_a_file_storage(tmp_path: Path) -> None:
    """What is set is got until it is removed, and a new storage on the file knows it too."""
    storage = ours.FileStorage(str(tmp_path / "urls"))
    storage.set_item("a", "http://a/1")
    storage.set_item("b", "http://a/2")
    storage.set_item("a", "http://a/3")
    assert ours.FileStorage(tmp_path / "urls").get_item("a") == "http://a/3"

    storage.remove_item("a")
    storage.remove_item("a")
    assert (storage.get_item("a"), storage.get_item("b")) == (None, "http://a/2")
    storage.close()


def test_a_file_storage_of_tuspy_s(tmp_path: Path) -> None:
    """Each reads what the other wrote, rows without a URL included."""
    path = str(tmp_path / "urls")
    theirs = both("storage.filestorage")[0].FileStorage(path)
    theirs.set_item("a", "http://a/1")
    theirs.set_item("nothing", None)
    theirs.close()
    mine = ours.FileStorage(path)
    assert (mine.get_item("a"), mine.get_item("nothing")) == ("http://a/1", None)

    mine.set_item("b", "http://a/2")
    mine.set_item("nothing", "http://a/3")
    theirs = both("storage.filestorage")[0].FileStorage(path)
    assert [theirs.get_item(key) for key in ("a", "b", "nothing")] == [
        f"http://a/{number}" for number in (1, 2, 3)
    ]
    theirs.close()
