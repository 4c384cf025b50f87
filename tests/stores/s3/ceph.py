"""A real S3 server for the tests: a one-node Ceph RGW that keeps its objects in memory.

Knows nothing of vectus. Everything is on loopback, in one folder, and ends with its context. A
folder's conftest imports the fixtures that its tests use.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Self

import pytest

from server import Port

PROGRAMS = ("ceph-mon", "ceph-osd", "radosgw")
ACCESS, SECRET = "AKTEST", "SKTEST"

KMS_KEY = "testkey-1"
"""The id of a key that it can encrypt with."""

LEAST_PART = 64 << 10
"""The least a part may have at our RGW."""

CONF = """\
[global]
fsid = {fsid}
run dir = {folder}/run
admin socket = {folder}/run/$name.asok
pid file = {folder}/$name.pid
log file = {folder}/log/$name.log
auth cluster required = cephx
auth service required = cephx
auth client required = cephx
auth allow insecure global id reclaim = false
keyring = {folder}/keyring
mon host = 127.0.0.1:{mon}
public addr = 127.0.0.1
cluster addr = 127.0.0.1
ms bind ipv6 = false
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
mon allow pool size one = true
mon warn on pool no redundancy = false
mon data avail warn = 1
mon data avail crit = 1
mon osd min in ratio = 0
osd crush chooseleaf type = 0
osd heartbeat interval = 1
# Without these two it takes ten times as long to start.
paxos propose interval = 0.05
paxos min wait = 0.01
[mon]
mon data = {folder}/mon
[mon.a]
host = {host}
mon addr = 127.0.0.1:{mon}
[osd]
osd data = {folder}/osd
osd objectstore = memstore
# A full one makes requests hang; what is freed stays for a while.
memstore device bytes = 3221225472
[client.rgw.a]
# Without nodelay every GET takes 40 ms.
rgw frontends = beast endpoint=127.0.0.1:{port} tcp_nodelay=1
rgw data = {folder}/rgw
rgw dns name = localhost
rgw enable usage log = false
# One "day" of a lifecycle rule, in seconds.
rgw lc debug interval = 2
rgw gc obj min wait = 10
rgw gc processor period = 10
rgw gc processor max time = 5
# A key to encrypt with, which a real one would have from elsewhere, and not over plain HTTP.
rgw crypt require ssl = false
rgw crypt s3 kms backend = testing
rgw crypt s3 kms encryption keys = {kms_key}=YmluCmJvb3N0CmJvb3N0LWJ1aWxkCmNlcGguY29uZgo=
# Parts small enough to be made by the dozen.
rgw multipart min part size = {least_part}
"""

ADMIN = ["--cap", "mon", "allow *", "--cap", "osd", "allow *", "--cap", "mgr", "allow *"]
OSD = ["--cap", "mon", "allow profile osd", "--cap", "osd", "allow *"]
RGW = ["--cap", "mon", "allow rw", "--cap", "osd", "allow rwx"]


def is_here() -> bool:
    """Say whether the programs are installed."""
    return all(map(shutil.which, PROGRAMS))


class Ceph:
    """A server, from entering the context to leaving it.

    Args:
        folder: where everything is.
        least_part: the least a part may have.
    """

    def __init__(self, folder: Path, least_part: int) -> None:
        self._ports = Port(), Port()
        self.port, self._mon = (port.number for port in self._ports)
        self.url = f"http://127.0.0.1:{self.port}"
        self._folder = folder
        self._conf = folder / "ceph.conf"
        self._least_part = least_part

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def stop(self) -> None:
        """End it: who talks to others goes first, as it would wait for them."""
        for name in ("client.rgw.a", "osd.0", "mon.a"):
            with suppress(FileNotFoundError, ValueError, ProcessLookupError):
                os.kill(int((self._folder / f"{name}.pid").read_text()), signal.SIGKILL)
        for port in self._ports:
            port.close()

    def _start(self) -> None:
        for name in ("mon", "osd", "rgw", "run", "log"):
            (self._folder / name).mkdir()
        self._conf.write_text(
            CONF.format(
                fsid=uuid.uuid4(),
                folder=self._folder,
                host=socket.gethostname(),
                mon=self._mon,
                port=self.port,
                least_part=self._least_part,
                kms_key=KMS_KEY,
            )
        )
        self._start_mon()
        self._start_osd()
        self._ceph("radosgw", "-n", "client.rgw.a")
        self._wait(self._answers, "radosgw")
        user = ("--uid=lab", "--display-name=lab", "--access-key", ACCESS, "--secret-key", SECRET)
        self._ceph("radosgw-admin", "user", "create", *user)

    def _start_mon(self) -> None:
        ring, monmap = self._folder / "keyring", self._folder / "monmap"
        mon = f"127.0.0.1:{self._mon}"
        keys = (
            ("mon.", ["--cap", "mon", "allow *"]),
            ("client.admin", ADMIN),
            ("osd.0", OSD),
            ("client.rgw.a", RGW),
        )
        self._run("ceph-authtool", "--create-keyring", ring)
        for name, caps in keys:
            self._run("ceph-authtool", ring, "--gen-key", "-n", name, *caps)
        fsid = self._conf.read_text().split("fsid = ")[1].split()[0]
        self._run("monmaptool", "--create", "--add", "a", mon, "--fsid", fsid, monmap)
        made = ("--mkfs", "-i", "a", "--monmap", monmap, "--keyring", ring)
        self._ceph("ceph-mon", *made)
        self._ceph("ceph-mon", "-i", "a")

    def _start_osd(self) -> None:
        known = str(uuid.uuid4())
        self._ceph("ceph", "osd", "new", known)
        shutil.copy(self._folder / "keyring", self._folder / "osd" / "keyring")
        self._ceph("ceph-osd", "-i", "0", "--mkfs", "--osd-uuid", known)
        self._ceph("ceph-osd", "-i", "0")
        self._wait(lambda: " 1 up" in self._ceph("ceph", "osd", "stat"), "ceph-osd")

    def _answers(self) -> bool:
        try:
            urllib.request.urlopen(self.url, timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def _wait(self, done: object, what: str) -> None:
        assert callable(done)
        until = time.monotonic() + 60
        while not done():
            if time.monotonic() > until:
                raise TimeoutError(f"{what} did not get ready; see {self._folder}/log")
            time.sleep(0.05)

    def _ceph(self, program: str, *argv: str | Path) -> str:
        return self._run(program, "-c", self._conf, *argv)

    def _run(self, *argv: str | Path) -> str:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, check=False
        )
        if done.returncode:
            raise RuntimeError(f"{argv} failed:\n{done.stdout}{done.stderr}")
        return done.stdout


@pytest.fixture(scope="session")
def credentials() -> Iterator[None]:
    """Let boto find who we are, and nothing of whoever runs the tests; nor what it found before,
    which it keeps."""
    import boto3

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(boto3, "DEFAULT_SESSION", None)
        patch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
        patch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
        patch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        patch.setenv("AWS_CONFIG_FILE", "/dev/null")
        patch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/dev/null")
        patch.delenv("AWS_PROFILE", raising=False)
        yield


@pytest.fixture(scope="session")
def rgw(credentials: None) -> Iterator[str]:
    """The URL of a real server."""
    yield from run_rgw()


@pytest.fixture(scope="module")
def brief_rgw(credentials: None) -> Iterator[str]:
    """The URL of one for a single file's tests: as long as it runs it takes a share of a core."""
    yield from run_rgw()


def run_rgw() -> Iterator[str]:
    """Run a real server until asked for more than its URL."""
    if not is_here():
        pytest.skip("Ceph's radosgw is not installed: run make outside")
    # Ceph's sockets have names that may not be long.
    folder = Path(tempfile.mkdtemp(prefix="rgw"))
    try:
        with Ceph(folder, LEAST_PART) as server:
            yield server.url
    finally:
        shutil.rmtree(folder, ignore_errors=True)
