"""Users of a drill before servers that do not answer as servers should: they give up in time."""

from __future__ import annotations

import socketserver
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest

from rollback_playbook.drill.prober import Prober, Sample
from rollback_playbook.drill.users import Wish, asking
from tests.gate_servers import Authority, authority, http_app

__all__ = ["authority"]

pytestmark = pytest.mark.integration

_TIMEOUT = 0.5
_LARGE = 300 << 20
_DIES_AT_ONCE = """
import os, subprocess, sys
from pathlib import Path
from rollback_playbook.drill import prober

# The users write to nobody, so that who waits for this program does not wait for them.
quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
real = subprocess.Popen
prober.subprocess.Popen = lambda *arguments, **others: real(*arguments, **others, **quiet)
from rollback_playbook.drill.users import Wish, asking

users = asking(Wish([sys.argv[1]], 5, 1), Path(sys.argv[2]))
print(users._process.pid, flush=True)
os._exit(0)
"""
_OK = b"HTTP/1.1 200 OK\r\n"


def _never_answers(_send: Callable[[bytes], None]) -> None:
    time.sleep(5)


def _never_ends(send: Callable[[bytes], None]) -> None:
    send(_OK + b"Content-Type: text/plain\r\n\r\n")
    while True:
        send(b"x" * (1 << 20))


def _drips(send: Callable[[bytes], None]) -> None:
    send(_OK + b"Content-Length: 1000\r\n\r\n")
    while True:
        send(b"x")
        time.sleep(0.1)


def _is_no_http(send: Callable[[bytes], None]) -> None:
    send(b"\x00\xff220 mail.example ESMTP\r\n")


def _redirects(send: Callable[[bytes], None]) -> None:
    send(b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:9/\r\nContent-Length: 0\r\n\r\n")


def _cannot_be_unpacked(send: Callable[[bytes], None]) -> None:
    send(_OK + b"Content-Encoding: gzip\r\nContent-Length: 4\r\n\r\nnone")


@contextmanager
def _serving(answer: Callable[[Callable[[bytes], None]], None]) -> Iterator[str]:
    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            self.request.recv(65536)
            with suppress(OSError):
                answer(self.request.sendall)

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/orders"
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("answer", "status", "why"),
    [
        pytest.param(_never_answers, 0, "no answer in time", id="hangs"),
        pytest.param(_never_ends, 0, "no answer in time", id="endless"),
        pytest.param(_drips, 0, "no answer in time", id="drips"),
        pytest.param(_is_no_http, 0, "illegal request line", id="no HTTP"),
        pytest.param(_redirects, 302, "", id="redirects"),
        pytest.param(_cannot_be_unpacked, 0, "incorrect header check", id="cannot be unpacked"),
    ],
)
def test_answer_that_is_none_is_a_failed_request_and_costs_no_more_than_the_timeout(
    tmp_path: Path, answer: Callable[[Callable[[bytes], None]], None], status: int, why: str
) -> None:
    with _serving(answer) as url:
        prober = asking(Wish([url], 5, _TIMEOUT), tmp_path / "seen.jsonl")
        largest = _watched(prober._process.pid, seconds=3)
        began = time.monotonic()
        found = prober.stop()
        took = time.monotonic() - began

    assert len(found) > 3
    assert {each.status for each in found} == {status}
    assert {each.error for each in found if why not in each.error} == set()
    assert max(each.seconds for each in found) < _TIMEOUT + 2
    assert took < _TIMEOUT + 3
    assert largest < _LARGE


@pytest.mark.parametrize("trusted", [True, False])
def test_certificate_of_a_private_authority_is_trusted_when_it_is_named(
    tmp_path: Path, authority: Authority, trusted: bool
) -> None:
    with http_app(authority.server_context("127.0.0.1")) as app:
        wish = Wish([app.url()], 5, 5, authority.ca_cert if trusted else "")
        users = asking(wish, tmp_path / "seen.jsonl")
        found = _first(users)

    assert found.good == trusted
    assert ("certificate verify failed" in found.error) != trusted


def test_password_in_an_address_is_not_on_a_command_line(tmp_path: Path) -> None:
    users = asking(Wish(["http://ann:s3cr3t@127.0.0.1:9/"], 5, 1), tmp_path / "seen.jsonl")
    line = psutil.Process(users._process.pid).cmdline()
    _first(users)

    assert "rollback_playbook.drill.users" in line
    assert "s3cr3t" not in " ".join(line)


def _first(users: Prober) -> Sample:
    """What they saw first; they are stopped then."""
    deadline = time.monotonic() + 60
    while not users.so_far():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return users.stop()[0]


def test_address_that_only_looks_like_one_ends_nobody(tmp_path: Path) -> None:
    url = "http://127.0.0.1:9/\x7f"
    prober = asking(Wish([url], 5, _TIMEOUT), tmp_path / "seen.jsonl")
    _watched(prober._process.pid, seconds=2)

    found = prober.stop()

    assert len(found) > 3
    assert {each.status for each in found} == {0}
    assert prober._process.returncode == 0


def test_users_whose_drill_was_killed_before_they_began_do_not_ask_for_ever(
    tmp_path: Path,
) -> None:
    file = tmp_path / "seen.jsonl"
    arguments = ["http://127.0.0.1:9/", str(file)]
    done = subprocess.run(
        [sys.executable, "-c", _DIES_AT_ONCE, *arguments],
        check=True,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=60,
    )

    with suppress(psutil.NoSuchProcess):
        psutil.Process(int(done.stdout)).wait(timeout=20)


def _watched(pid: int, *, seconds: float) -> int:
    """The most memory that the process has used meanwhile."""
    until, most = time.monotonic() + seconds, 0
    while time.monotonic() < until:
        most = max(most, psutil.Process(pid).memory_info().rss)
        time.sleep(0.05)
    return most


def _answers_late(send: Callable[[bytes], None]) -> None:
    time.sleep(1.5)
    send(_OK + b"Content-Length: 2\r\n\r\nok")


def test_answer_that_is_still_to_come_at_the_end_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Users who are patient had theirs; ending them sooner would look like a failure."""
    monkeypatch.setattr("rollback_playbook.drill.prober._STOP_SECONDS", 0.2)
    with _serving(_answers_late) as url:
        users = asking(Wish([url], 2, 20), tmp_path / "users.jsonl")
        deadline = time.monotonic() + 60
        while not users.so_far():
            assert time.monotonic() < deadline
            time.sleep(0.05)
        found = users.stop()

    assert [sample for sample in found if not sample.good] == []
