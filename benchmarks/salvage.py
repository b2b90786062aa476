"""How long pg_salvage takes on two large tables, and how much memory, beside the usual ways.

The usual ways to find what differs between two databases: both tables fetched in key order and
compared by a client, or both dumped as sorted text and given to diff(1).

    python benchmarks/salvage.py [--scale 1.0] [--runs 1]

Scale 1 is 1,000,000 rows with 0.1 % difference.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import psycopg

from tests.module_runner import start_module
from tests.real_servers import PostgresServer, new_postgres, stop


def fill(server: PostgresServer, rows: int) -> None:
    """Two databases that differ in 0.1 % of the rows: added, changed, removed in equal parts."""
    with server.connect() as connection:
        connection.execute("CREATE DATABASE reference")
    with server.connect("reference") as connection:
        connection.execute(
            "CREATE TABLE orders (id bigint PRIMARY KEY, customer text NOT NULL,"
            " total numeric(12, 2), created timestamptz, note text)"
        )
        connection.execute(
            "INSERT INTO orders SELECT n, 'customer ' || n % 5000, n * 1.25,"
            " timestamptz '2026-01-01' + n * interval '1 second', repeat(md5(n::text), 3)"
            f" FROM generate_series(1, {rows}) n"
        )
        connection.execute("VACUUM ANALYZE orders")
    with server.connect() as connection:
        connection.execute("CREATE DATABASE written TEMPLATE reference")
    third = max(1, rows // 3000)
    with server.connect("written") as connection:
        connection.execute(
            f"INSERT INTO orders SELECT {rows} + n, 'new', 1, now(), 'x'"
            f" FROM generate_series(1, {third}) n"
        )
        connection.execute(
            f"UPDATE orders SET note = 'changed' WHERE id % 3000 = 1 AND id <= {rows}"
        )
        connection.execute("DELETE FROM orders WHERE id % 3000 = 2")


def in_process(argv: list[str], folder: Path, feed: str = "") -> tuple[str, float]:
    """Output of a program, and its peak memory in MiB."""
    output = folder / "output"
    with output.open("w+b") as handle:
        process = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=handle)
        assert process.stdin is not None  # noqa: S101
        process.stdin.write(feed.encode())
        process.stdin.close()
        peak = watch(process)
    if process.returncode not in (0, 1):
        raise RuntimeError(f"{argv[0]} ended with {process.returncode}")
    return output.read_text(), peak


def watch(process: subprocess.Popen[Any]) -> float:
    """Wait until the process ends; its peak memory in MiB."""
    peak = 0.0
    status = Path(f"/proc/{process.pid}/status")
    while process.poll() is None:
        peak = max(peak, _peak(status))
        time.sleep(0.02)
    return peak


def ours(server: PostgresServer, folder: Path, state: str) -> tuple[int, float]:
    """pg_salvage as a process: rows that differ, and its peak memory in MiB."""
    process = start_module(
        "pg_salvage",
        {
            **server.login,
            "database": "written",
            "reference": "reference",
            "state": state,
            "dest": str(folder / "salvage"),
        },
    )
    peak = watch(process)
    out, err = process.communicate()
    result = json.loads(out)
    if result.get("failed"):
        raise RuntimeError(result["msg"] + err)
    return sum(result["total"].values()), peak


def _peak(status: Path) -> float:
    try:
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(lines["VmHWM"].split()[0]) / 1024
    except (OSError, KeyError):
        return 0.0


_CLIENT = """
import json, psycopg, sys
dsns = json.load(sys.stdin)
tables = []
for dsn in dsns:
    with psycopg.connect(**dsn) as connection:
        rows = connection.execute("SELECT * FROM orders ORDER BY id")
        tables.append({row[0]: row for row in rows})
ours, theirs = tables
print(sum(ours.get(key) != theirs.get(key) for key in ours.keys() | theirs.keys()))
"""


def client(server: PostgresServer, folder: Path) -> tuple[int, float]:
    """Both tables in the memory of a client."""
    dsns = json.dumps([_dsn(server, name) for name in ("written", "reference")])
    out, peak = in_process([sys.executable, "-c", _CLIENT], folder, dsns)
    return int(out), peak


def sorted_text(server: PostgresServer, folder: Path) -> tuple[int, float]:
    """Both tables as sorted text, then diff(1)."""
    files = []
    for name in ("written", "reference"):
        file = folder / f"{name}.txt"
        with file.open("wb") as handle, psycopg.connect(**_dsn(server, name)) as connection:
            query = "COPY (SELECT * FROM orders ORDER BY id) TO STDOUT"
            with connection.cursor().copy(query) as rows:
                for row in rows:
                    handle.write(row)
        files.append(str(file))
    out, peak = in_process(["diff", "--speed-large-files", *files], folder)
    keys = {line[2:].split("\t", 1)[0] for line in out.splitlines() if line[:1] in "<>"}
    return len(keys), peak


def _dsn(server: PostgresServer, name: str) -> dict[str, Any]:
    return {
        "host": "127.0.0.1",
        "port": server.port,
        "user": "postgres",
        "password": server.password,
        "dbname": name,
    }


def measure(act: Callable[[], tuple[int, float]], runs: int) -> tuple[float, int, float]:
    """Median seconds, rows found, most MiB."""
    seconds, found, peak = [], 0, 0.0
    for _run in range(runs):
        started = time.monotonic()
        found, memory = act()
        seconds.append(time.monotonic() - started)
        peak = max(peak, memory)
    return statistics.median(seconds), found, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--scale", type=float, default=1.0)
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    rows = max(3000, round(1_000_000 * options.scale))
    with tempfile.TemporaryDirectory(prefix="rollback-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = new_postgres(folder)
        process = server.start(fsync="off", shared_buffers="256MB", max_wal_size="4GB")
        try:
            fill(server, rows)
            ways: dict[str, Callable[[], tuple[int, float]]] = {
                "pg_salvage counted": lambda: ours(server, folder, "counted"),
                "pg_salvage exported": lambda: ours(server, folder, "exported"),
                "both tables in a client": lambda: client(server, folder),
                "sorted text and diff": lambda: sorted_text(server, folder),
            }
            results = {way: measure(act, options.runs) for way, act in ways.items()}
            results["pg_salvage merged"] = measure(lambda: ours(server, folder, "merged"), 1)
        finally:
            stop(process)
    print(f"two tables of {rows:,} rows")
    print(f"{'':26}{'seconds':>9}{'MiB':>7}{'rows that differ':>18}{'times ours':>12}")
    base = results["pg_salvage counted"][0]
    for way, (seconds, found, peak) in results.items():
        print(f"{way:26}{seconds:9.2f}{peak:7.0f}{found:18,}{seconds / base:12.2f}")


if __name__ == "__main__":
    main()
