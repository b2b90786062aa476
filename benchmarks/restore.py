"""What a restore costs: time without service, and time until the restored data are proved.

Beside it, in the same run, the way of the runbooks: drop, create, ``pg_restore -j2``, and nothing
proved. 64 clients connect, ask and leave in a tight loop meanwhile.

    python benchmarks/restore.py [--sizes 100 500 1000] [--runs 1]

Sizes are MiB of the database on disk.
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.module_runner import start_module
from tests.pg_crowd import Crowd
from tests.real_servers import PostgresServer, new_postgres, stop

# About one MiB of tables and indexes for each unit.
_SCHEMA = """
CREATE TABLE release (version text);
INSERT INTO release VALUES ('backup');
CREATE TABLE customers (id int PRIMARY KEY, email text UNIQUE, name text, created timestamptz);
CREATE TABLE orders (id bigint PRIMARY KEY, customer_id int NOT NULL, total numeric(12, 2) NOT NULL,
  state text, placed timestamptz, note text);
CREATE TABLE lines (order_id bigint, line int, product text, price numeric(10, 2), doc jsonb,
  PRIMARY KEY (order_id, line));
INSERT INTO customers SELECT n, 'customer' || n || '@example.com', md5(n::text),
  timestamptz '2025-01-01' + n * interval '1 minute' FROM generate_series(1, {customers}) n;
INSERT INTO orders SELECT n, 1 + n % {customers}, n % 1000 * 1.25, 'paid',
  timestamptz '2026-01-01' + n * interval '1 s', repeat(md5(n::text), 4)
  FROM generate_series(1, {orders}) n;
INSERT INTO lines SELECT n, m, md5((n * m)::text), m * 2.5, jsonb_build_object('size', m, 'n', n)
  FROM generate_series(1, {orders}) n, generate_series(1, 2) m;
CREATE INDEX ON orders (customer_id);
CREATE INDEX ON orders (placed);
ALTER TABLE orders ADD FOREIGN KEY (customer_id) REFERENCES customers;
ALTER TABLE lines ADD FOREIGN KEY (order_id) REFERENCES orders;
"""


def run(name: str, arguments: dict[str, Any]) -> tuple[dict[str, Any], float]:
    """One module as a process of its own; its result, and seconds with everything."""
    began = time.monotonic()
    process = start_module(name, arguments)
    output, errors = process.communicate()
    if not output:
        raise SystemExit(errors)
    result: dict[str, Any] = json.loads(output)
    if result.get("failed"):
        raise SystemExit(result["msg"])
    return result, time.monotonic() - began


def fill(server: PostgresServer, mebibytes: int) -> int:
    """The database ``shop`` of about this size; its size in MiB."""
    with server.connect() as connection:
        for (name,) in connection.execute(
            "SELECT quote_ident(datname) FROM pg_database WHERE datname LIKE 'shop%'"
        ).fetchall():
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
        connection.execute("CREATE DATABASE shop")
    with server.connect("shop") as connection:
        connection.execute(_SCHEMA.format(customers=mebibytes * 150, orders=mebibytes * 1450))
        connection.execute("VACUUM ANALYZE")
        connection.execute("CHECKPOINT")
        row = connection.execute("SELECT pg_database_size('shop') / 1048576").fetchone()
    return int(row[0]) if row else 0


def plain(server: PostgresServer, backup: Path, database: str) -> float:
    """``pg_restore -j2`` into a new database; seconds."""
    began = time.monotonic()
    with server.connect() as connection:
        connection.execute(f"DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        connection.execute(f"CREATE DATABASE {database}")
    subprocess.run(
        [
            str(server.cluster.bin_dir / "pg_restore"),
            *("--host=127.0.0.1", f"--port={server.port}", "--username=postgres", "--jobs=2"),
            f"--dbname={database}",
            str(backup / "dump"),
        ],
        check=True,
        env={"PGPASSWORD": server.password},
    )
    return time.monotonic() - began


def gap(seen: list[tuple[float, float, Any]]) -> float:
    """Milliseconds from the last answer of the old content to the first one of the new."""
    old = max(end for _began, end, answer in seen if answer == "damaged")
    new = min(end for _began, end, answer in seen if answer == "backup")
    return (new - old) * 1000


def checkpoint(server: PostgresServer) -> None:
    with server.connect() as connection:
        connection.execute("CHECKPOINT")


def measure(server: PostgresServer, folder: Path, mebibytes: int) -> dict[str, float]:
    size = fill(server, mebibytes)
    login = {**server.login, "database": "shop"}
    made, _seconds = run("pg_backup_verified", {**login, "dest": str(folder)})
    backup = Path(made["backup"]["path"])
    restore = {**login, "backup": str(backup)}
    plains, proofs = [], []
    for crowded in (False, True):
        with server.connect("shop") as connection:
            connection.execute("UPDATE release SET version = 'damaged'")
        # In turns, and neither pays for what the other left to be written.
        checkpoint(server)
        plains.append(plain(server, backup, "plain"))
        checkpoint(server)
        staged, seconds = run("pg_restore_verified", {**restore, "state": "staged"})
        proofs.append(seconds)
        print(f"  {json.dumps(staged['times'])}", flush=True)
        if not crowded:
            _result, task = run("pg_restore_verified", restore)
            continue
        crowd = Crowd(server, "shop", "SELECT version FROM release")
        time.sleep(2)
        result, _seconds = run("pg_restore_verified", restore)
        seen = crowd.seen()
    with server.connect() as connection:
        connection.execute("DROP DATABASE plain WITH (FORCE)")
    return {
        "size": size,
        "plain": statistics.mean(plains),
        "proved": statistics.mean(proofs),
        "task": task,
        "gap": gap(seen),
        "waited": result["downtime_ms"],
        # The runbooks' way, on what is live now: without service from first to last.
        "outage": plain(server, backup, "shop"),
    }


def report(mebibytes: int, runs: list[dict[str, float]]) -> None:
    middle = {name: statistics.median(one[name] for one in runs) for name in runs[0]}
    ratio = middle["proved"] / middle["plain"]
    fewer = middle["outage"] * 1000 / max(middle["gap"], 1)
    print(f"database of {middle['size']:.0f} MiB ({mebibytes} asked for), {len(runs)} run(s)")
    print(f"  time without service, 64 clients: {middle['gap']:.0f} ms (target: 250 or less)")
    print(f"    new sessions waited for {middle['waited']:.0f} ms in the server")
    print(f"    the runbooks' way: {middle['outage']:.1f} s, {fewer:.0f} times more (target: 50)")
    print(
        f"  restored and proved: {middle['proved']:.1f} s; pg_restore -j2 alone: "
        f"{middle['plain']:.1f} s; {ratio:.2f} times (target: 1.35 or less)"
    )
    print(f"  staged to live, the whole task: {middle['task']:.2f} s (target: 1.5 or less)")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[100, 500, 1000])
    parser.add_argument("--runs", type=int, default=1)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="restore-bench-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        server = new_postgres(folder)
        process = server.start(max_connections=200)
        try:
            for size in options.sizes:
                runs = [measure(server, folder / "backups", size) for _ in range(options.runs)]
                report(size, runs)
        finally:
            stop(process)


if __name__ == "__main__":
    main()
