"""curl, as people type it, against a real server process."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from driven import Server

from server import until

TUS = ("-H", "Tus-Resumable: 1.0.0")
BYTES = ("-H", "Content-Type: application/offset+octet-stream")


@pytest.fixture
def curl() -> Callable[..., subprocess.CompletedProcess[bytes]]:
    """Run curl; ``feed`` is what it reads from its standard input."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not here")

    def run(*arguments: object, feed: bytes = b"") -> subprocess.CompletedProcess[bytes]:
        command = ["curl", "--silent", "--show-error", "--noproxy", "*", *map(str, arguments)]
        return subprocess.run(command, input=feed, capture_output=True, check=False, timeout=45)

    return run


Curl = Callable[..., subprocess.CompletedProcess[bytes]]


def create(curl: Curl, server: Server, *arguments: object) -> str:
    """Create an upload, and return its URL."""
    answer = curl(server.url, "-i", *TUS, *arguments).stdout.decode()
    location = re.search(r"(?mi)^location: (\S+)", answer)
    assert " 201 " in answer
    assert location is not None
    return f"http://127.0.0.1:{server.port}{location[1]}"


def offset(curl: Curl, url: str) -> int:
    """Return how far an upload is."""
    found = re.search(r"(?mi)^upload-offset: (\d+)", curl("-I", *TUS, url).stdout.decode())
    assert found is not None
    return int(found[1])


def patch(url: str, start: int) -> tuple[object, ...]:
    """Return the arguments of a PATCH, but for its bytes."""
    return (url, "-X", "PATCH", *TUS, *BYTES, "-H", f"Upload-Offset: {start}")


def test_all_at_once(server: Server, photo: Path, curl: Curl) -> None:
    """One POST uploads a file, and a GET brings it back (T43, T45, C44)."""
    length = f"Upload-Length: {photo.stat().st_size}"
    url = create(curl, server, "-H", length, *BYTES, "--data-binary", f"@{photo}")

    assert offset(curl, url) == photo.stat().st_size
    assert curl(url).stdout == photo.read_bytes()


def test_in_two_pieces(server: Server, photo: Path, curl: Curl) -> None:
    """A PATCH goes on where HEAD says that the first one ended (T13, T22)."""
    content = photo.read_bytes()
    url = create(curl, server, "-X", "POST", "-H", f"Upload-Length: {len(content)}")
    curl(*patch(url, 0), "--data-binary", "@-", feed=content[:500_000])
    reached = offset(curl, url)
    last = curl(*patch(url, reached), "--data-binary", "@-", "-i", feed=content[reached:])

    assert reached == 500_000
    assert f"upload-offset: {len(content)}" in last.stdout.decode().lower()
    assert server.stored(url) == content


def test_a_pipe(server: Server, photo: Path, curl: Curl) -> None:
    """Bytes from a pipe come chunked and arrive whole (C29)."""
    content = photo.read_bytes()
    url = create(curl, server, "-X", "POST", "-H", f"Upload-Length: {len(content)}")
    curl(*patch(url, 0), "-T", "-", feed=content)

    assert server.stored(url) == content


def test_resuming_after_an_interruption(server: Server, photo: Path, curl: Curl) -> None:
    """What curl had sent when it was cut is kept, and the rest makes the file whole (T25, C34)."""
    content = photo.read_bytes()
    url = create(curl, server, "-X", "POST", "-H", f"Upload-Length: {len(content)}")
    slowly = ("--silent", "--noproxy", "*", "--limit-rate", "10k")  # for two minutes
    with subprocess.Popen(["curl", *map(str, patch(url, 0)), "-T", photo, *slowly]) as first:
        until(lambda: server.stored(url), "the first bytes")
        first.kill()
    reached = offset(curl, url)
    rest = curl(*patch(url, reached), "--data-binary", "@-", feed=content[reached:])

    assert (first.returncode, rest.returncode) == (-signal.SIGKILL, 0)
    assert 0 < reached < len(content)
    assert server.stored(url) == content


def test_downloading_a_part(server: Server, photo: Path, curl: Curl) -> None:
    """A range, and the end of a file whose beginning is there already, come byte for byte (C44)."""
    content = photo.read_bytes()
    length = f"Upload-Length: {len(content)}"
    url = create(curl, server, "-H", length, *BYTES, "--data-binary", f"@{photo}")
    half = photo.with_name("half.jpg")
    half.write_bytes(content[:700_000])
    curl("-C", "-", "-o", half, url)

    assert curl("-r", "1000-1999", url).stdout == content[1000:2000]
    assert curl("-r", "-5", url).stdout == content[-5:]
    assert half.read_bytes() == content


def test_a_refusal_before_a_large_body(
    server: Server, make_file: Callable[[int], Path], curl: Curl
) -> None:
    """A wrong offset is told while curl still sends, and curl hears it (T20, D9)."""
    large = make_file(20_000_000)
    url = create(curl, server, "-X", "POST", "-H", f"Upload-Length: {large.stat().st_size}")
    answer = curl(*patch(url, 7), "-T", large, "-i", "-H", "Expect:")

    assert answer.stdout.decode().startswith("HTTP/1.1 409")
    assert offset(curl, url) == 0
