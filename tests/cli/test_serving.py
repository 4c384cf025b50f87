"""Processes, sockets and signals, with an application that does what the test says."""

from __future__ import annotations

import http.client
import os
import resource
import signal
import socket
import ssl
import time
import urllib.request
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import trustme

from server import Port

PATIENCE = 30.0

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


def until(holds: Callable[[], Any]) -> Any:
    """Wait for what no event tells of, and return it."""
    deadline = time.monotonic() + PATIENCE
    while not (found := holds()):
        assert time.monotonic() < deadline, "it has not happened"
        time.sleep(0.005)
    return found


def get(running, path: str) -> str:
    with urllib.request.urlopen(f"{running.url.rstrip('/')}{path}", timeout=PATIENCE) as answer:
        return answer.read().decode()


def begin(running, path: str) -> socket.socket:
    """Send a request whose answer nobody waits for, and wait until it is under way."""
    wire = socket.create_connection(("127.0.0.1", running.port), PATIENCE)
    wire.sendall(f"GET {path} HTTP/1.1\r\nhost: stub\r\n\r\n".encode())
    until(Path("hanging").exists)
    return wire


def alive(pid: int) -> bool:
    """Whether a process is there and no zombie (in a container nobody may bury orphans)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)


@LOOPS
def test_it_says_where_it_listens(stub, loop) -> None:
    """One line on standard output, flushed though it is a pipe, names the port that was picked;
    the loop is the one that was asked for; nothing is said on standard error."""
    running = stub(loop=loop, path="/files/").wait_until_ready()

    assert running.line == f"Listening on http://127.0.0.1:{running.port}/files/\n"
    with urllib.request.urlopen(f"http://127.0.0.1:{running.port}/loop") as answer:
        assert answer.read().decode().startswith(loop)
    running.signal(signal.SIGTERM)
    assert running.ended() == 0
    assert running.process.stdout.read() == ""
    assert running.said == ""


@pytest.mark.platform("linux")
def test_it_says_so_once_when_all_workers_are_ready(stub) -> None:
    """With several workers the line comes once, and only when the last of them is ready."""
    running = stub(workers=3, start={"env": {**os.environ, "WAIT": "1"}})
    until(lambda: Path("starts").is_dir() and len(list(Path("starts").iterdir())) == 3)

    assert running.silent
    Path("go").touch()
    running.wait_until_ready()

    assert get(running, "/pid") in map(str, running.workers)
    running.signal(signal.SIGTERM)
    assert running.ended() == 0
    assert running.process.stdout.read() == ""


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("workers", [1, 2])
def test_a_signal_ends_it_well(stub, workers, number) -> None:
    """SIGTERM and Ctrl-C end an idle server with code 0, its application closed, although clients
    keep connections open."""
    running = stub(workers=workers).wait_until_ready()
    idle = http.client.HTTPConnection("127.0.0.1", running.port, timeout=PATIENCE)
    idle.request("GET", "/pid")
    idle.getresponse().read()

    running.signal(number)

    assert running.ended() == 0
    assert Path("closed").exists()
    assert idle.sock.recv(1) == b""
    idle.close()
    assert "Traceback" not in running.said


@pytest.mark.parametrize("workers", [1, 2])
def test_it_ends_in_time_although_a_request_does_not(stub, workers) -> None:
    """A request that goes on is cancelled before the shutdown time is over, and the code is 0."""
    soon = {"env": {**os.environ, "ANSWERS": "0.05"}}  # and much time for what comes then
    running = stub(workers=workers, shutdown_timeout=20, start=soon).wait_until_ready()
    with begin(running, "/hang"):
        running.signal(signal.SIGTERM)
        assert running.ended() == 0
    assert "Cancelling 1 request" in running.said
    assert Path("closed").exists()


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("path", ["/stubborn", "/block"])
def test_it_ends_in_time_whatever_happens(stub, workers, path) -> None:
    """A request that takes no notice, or holds the event loop itself, is left behind when the
    shutdown time is over; the code says that it was not a good end."""
    running = stub(workers=workers, shutdown_timeout=1).wait_until_ready()
    with begin(running, path):
        began = time.monotonic()
        running.signal(signal.SIGTERM)
        assert running.ended() == 1
        assert time.monotonic() - began < 9  # the default is 10


@pytest.mark.parametrize("workers", [1, 2])
def test_a_second_ctrl_c_does_not_wait(stub, workers) -> None:
    """Whoever presses Ctrl-C twice means it."""
    with closing(Port()) as port:
        running = stub(port=port.number, workers=workers, shutdown_timeout=60).wait_until_ready()
        with begin(running, "/hang"):
            running.signal(signal.SIGINT)
            until(lambda: not listens(port.number))
            running.signal(signal.SIGINT)
            assert running.ended() == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_it_accepts_nothing_while_it_ends(stub, workers) -> None:
    """From the signal on new connections are refused, so that a successor can have the port."""
    with closing(Port()) as port:
        running = stub(port=port.number, workers=workers, shutdown_timeout=60).wait_until_ready()
        with begin(running, "/hang"):
            running.signal(signal.SIGTERM)
            until(lambda: not listens(port.number))
            stub(port=port.number).wait_until_ready()
            assert running.process.poll() is None


def listens(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True


@pytest.mark.platform("linux")
@pytest.mark.parametrize("path", ["/pid", "/block"])
def test_workers_die_with_their_parent(stub, path) -> None:
    """When the parent is killed its workers are gone, one whose loop is stuck included, and the
    next server has the port at once."""
    with closing(Port()) as port:
        running = stub(port=port.number, workers=2).wait_until_ready()
        workers = running.workers
        assert len(workers) == 2
        wire = begin(running, path) if path == "/block" else None

        running.signal(signal.SIGKILL)
        running.ended()
        stub(port=port.number).wait_until_ready()

    until(lambda: not any(map(alive, workers)))
    if wire:
        wire.close()


@pytest.mark.platform("linux")
def test_a_worker_that_dies_is_replaced(stub) -> None:
    """A killed worker's place is taken by a new one, again and again, and one line says so."""
    running = stub(workers=2).wait_until_ready()
    for _ in range(3):
        victim, other = running.workers
        os.kill(victim, signal.SIGKILL)
        until(lambda v=victim: v not in running.workers and len(running.workers) == 2)
        assert other in running.workers
        assert int(get(running, "/pid")) in running.workers

    assert running.said.count("was killed by signal 9; starting another") == 3
    running.signal(signal.SIGTERM)
    assert running.ended() == 0


@pytest.mark.platform("linux")
@pytest.mark.parametrize("workers", [1, 2, 3])
def test_a_worker_that_cannot_start_ends_everything(stub, workers) -> None:
    """Its own words come once, the code is not 0, and nothing is left running."""
    Path("starts").mkdir()
    (Path("starts") / "0").touch()
    running = stub(workers=workers, start={"env": {**os.environ, "REFUSE": "1"}})

    assert running.ended() == 2
    assert running.said == "The stub does not want to start. Ask it nicely.\n"
    assert running.process.stdout.read() == ""
    until(lambda: not any(alive(int(each.name)) for each in Path("starts").iterdir()))


@pytest.mark.platform("linux")
def test_a_worker_that_crashes_at_the_start_ends_everything(stub) -> None:
    """One worker that dies without a word before it serves ends the others, ready or not."""
    running = stub(workers=2, start={"env": {**os.environ, "CRASH": "1"}})

    assert running.ended() != 0
    assert "A worker ended with code 7 before it could serve" in running.said
    until(lambda: not any(alive(int(each.name)) for each in Path("starts").iterdir()))


@LOOPS
def test_connections_are_spread_over_the_workers(stub, loop) -> None:
    """Connections that stay open do not all go to the worker that wakes first; one that does not
    wake for a while is made up to."""
    running = stub(workers=2, loop=loop).wait_until_ready()
    wires, pids = [], Counter(map(str, running.workers))
    while len(wires) < 60 or (len(wires) < 600 and min(pids.values()) - 1 < len(wires) / 4):
        wires.append(socket.create_connection(("127.0.0.1", running.port), PATIENCE))
        pids[ask(wires[-1])] += 1
    for wire in wires:
        wire.close()

    assert len(pids) == 2
    assert min(pids.values()) - 1 >= len(wires) / 4, pids


def ask(wire: socket.socket) -> str:
    """Ask for the process on an open connection."""
    wire.settimeout(PATIENCE)
    wire.sendall(b"GET /pid HTTP/1.1\r\nhost: stub\r\n\r\n")
    answer = http.client.HTTPResponse(wire)
    answer.begin()
    return answer.read().decode()


def few_files(soft: int, hard: int) -> dict[str, Any]:
    """How to start a process with few files."""
    return {"preexec_fn": lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))}


@pytest.mark.parametrize("workers", [1, 2])
def test_the_limit_of_open_files_is_raised(stub, workers) -> None:
    """The soft limit becomes the hard one."""
    running = stub(workers=workers, start=few_files(100, 200)).wait_until_ready()
    assert get(running, "/limit") == "200"


@LOOPS
@pytest.mark.platform("linux")
def test_no_descriptors_left_slows_accepting_down(stub, loop) -> None:
    """More clients than descriptors: those connected are served, one line says so, no time is
    burnt, nothing breaks, and when some leave the others come in."""
    running = stub(loop=loop, start=few_files(64, 64)).wait_until_ready()
    wires = [socket.create_connection(("127.0.0.1", running.port), 5) for _ in range(120)]
    until(lambda: "Accepting connections slowly" in running.said)
    before = cpu(running.process.pid)

    for _ in range(3):
        for wire in wires[:20]:
            assert ask(wire) == str(running.process.pid)
        time.sleep(0.5)  # the length of a pause: what spins would show by now
    assert cpu(running.process.pid) - before < 0.5

    for wire in wires[:100]:
        wire.close()
    for wire in wires[100:]:
        assert ask(wire) == str(running.process.pid)
        wire.close()
    assert running.said.count("\n") == 1
    running.signal(signal.SIGTERM)
    assert running.ended() == 0


def cpu(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.fixture
def certificate(tmp_path) -> tuple[str, str, ssl.SSLContext]:
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1")
    issued.cert_chain_pems[0].write_to_path(tmp_path / "cert.pem")
    issued.private_key_pem.write_to_path(tmp_path / "key.pem")
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return str(tmp_path / "cert.pem"), str(tmp_path / "key.pem"), context


@LOOPS
def test_tls(stub, certificate, loop) -> None:
    """With a certificate it speaks HTTPS; a client that never shakes hands does not hold up its
    end, nor does one that keeps an idle connection and reads no goodbye."""
    cert, key, context = certificate
    running = stub(tls=[cert, key], loop=loop).wait_until_ready()

    assert running.url.startswith("https://")
    silent = socket.create_connection(("127.0.0.1", running.port))
    garbage = socket.create_connection(("127.0.0.1", running.port))
    garbage.sendall(b"GET / HTTP/1.1\r\n\r\n")
    with urllib.request.urlopen(f"{running.url}pid", context=context) as answer:
        assert int(answer.read()) == running.process.pid
    garbage.close()
    idle = context.wrap_socket(
        socket.create_connection(("127.0.0.1", running.port)), server_hostname="127.0.0.1"
    )
    assert ask(idle) == str(running.process.pid)
    began = time.monotonic()
    running.signal(signal.SIGTERM)
    assert running.ended() == 0
    assert time.monotonic() - began < 9.5  # and not the whole shutdown time, nor asyncio's 30 s
    silent.close()
    idle.close()
    assert running.said == ""


@pytest.mark.parametrize(
    ("cert", "key", "words"),
    [
        ("nothing.pem", "key.pem", "(nothing.pem)"),
        ("cert.pem", "nothing.pem", "(nothing.pem)"),
        ("cert.pem", "cert.pem", "no key and certificate"),
        ("key.pem", None, "no key and certificate"),
        ("cert.pem", "other.pem", "no key and certificate"),
    ],
)
@pytest.mark.usefixtures("certificate")
def test_tls_files_that_are_none(stub, cert, key, words) -> None:
    """Files that are missing, or do not belong together, are named in one sentence."""
    trustme.CA().issue_cert("127.0.0.1").private_key_pem.write_to_path("other.pem")

    running = stub(tls=[cert, key])

    assert running.ended() == 2
    assert words in running.said
    assert running.said.count("\n") == 1


@LOOPS
@pytest.mark.parametrize("workers", [1, 2])
def test_a_socket_file(stub, loop, workers) -> None:
    """It can listen on a socket file: one left by a killed server is replaced, one in use is not,
    and its own is removed at the end."""
    options = {"uds": "socket", "loop": loop, "workers": workers}
    first = stub(**options).wait_until_ready()
    assert first.url == "unix:socket (path /)"
    first.signal(signal.SIGKILL)
    first.ended()
    assert Path("socket").exists()

    second = stub(**options).wait_until_ready()
    with socket.socket(socket.AF_UNIX) as wire:
        wire.connect("socket")
        assert ask(wire)
    third = stub(**options)

    assert third.ended() == 2
    assert third.said.startswith("Another server listens on socket.")
    second.signal(signal.SIGTERM)
    assert second.ended() == 0
    assert not Path("socket").exists()


@pytest.mark.parametrize("path", ["file", "folder/socket", "x" * 200])
def test_a_socket_file_that_cannot_be(stub, path) -> None:
    """A file of another kind is left as it is, and what cannot be made is said in one sentence."""
    Path("file").write_text("precious")

    running = stub(uds=path)

    assert running.ended() == 2
    assert running.said.count("\n") == 1
    assert Path("file").read_text() == "precious"


def test_a_taken_port(stub) -> None:
    """A port that somebody listens on is named in one sentence."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        running = stub(port=port)
        assert running.ended() == 2
    assert running.said.startswith(f"Port {port} on 127.0.0.1 is taken. ")
    assert running.said.count("\n") == 1


@pytest.mark.parametrize("host", ["no.such.host.invalid", "203.0.113.7", "::1%nowhere"])
def test_a_host_that_is_not_here(stub, host) -> None:
    """A name nobody knows, or somebody else's address, is said in one sentence."""
    running = stub(host=host)
    assert running.ended() == 2
    assert running.said.count("\n") == 1


def test_a_name_with_several_addresses_has_one_port(stub) -> None:
    """The name localhost stands for all its addresses, on the same port."""
    running = stub(host="localhost").wait_until_ready()
    for *_, address in socket.getaddrinfo("localhost", running.port, type=socket.SOCK_STREAM):
        with socket.create_connection(address[:2], PATIENCE) as wire:
            assert ask(wire) == str(running.process.pid)


def test_the_access_log_is_asked_for(stub) -> None:
    """Requests are logged with access_log, one line each, and only then."""
    running = stub(access_log=True).wait_until_ready()
    get(running, "/pid")
    until(lambda: '"GET /pid HTTP/1.1" 200' in running.said)
    assert running.said.count("\n") == 1


def test_a_closed_standard_output_is_no_reason_to_end(stub) -> None:
    """A server whose output nobody reads serves all the same."""
    with socket.socket() as free:
        free.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
        running = stub(port=port)
        running.process.stdout.close()
        until(lambda: listens(port) or running.process.poll() is not None)
        with socket.create_connection(("127.0.0.1", port), PATIENCE) as wire:
            assert ask(wire) == str(running.process.pid)
        running.signal(signal.SIGTERM)
        assert running.ended() == 0
