# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""One dump and its manifest, both of one snapshot, written whole or not at all.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import concurrent.futures
import contextlib
import datetime
import re
import secrets
import typing as t
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_backup_folder import (
    DumpError,
    partial_folder,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_content import (
    SESSION,
    Content,
    algorithm_of,
    large_objects,
    read_contents,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import (
    DUMP,
    dump_files,
    file_digest,
    sync,
    write_durably,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_facts import (
    read_extensions,
    read_properties,
    read_roles,
    read_sequences,
    read_tablespaces,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    MANIFEST,
    Manifest,
    manifest_text,
    now,
    utc,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_objects import read_objects
from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import (
    Program,
    Running,
    find_program,
)
from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import Table, read_tables
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    apply_settings,
    client_conninfo,
    client_environment,
    connect,
    one_line,
)

with contextlib.suppress(ImportError):  # require_psycopg() in the module says so
    import psycopg

_ATTEMPTS = 5
_SETTINGS = {"statement_timeout": "0", "idle_in_transaction_session_timeout": "0"}


@dataclass(frozen=True)
class Request:
    """What to dump, and where to."""

    login: t.Mapping[str, t.Any]
    database: str
    dest: Path
    format: str
    jobs: int
    label: str
    lock_timeout: float


def new_id(database: str, when: datetime.datetime) -> str:
    """An id that is a good file name, whatever the database is called."""
    plain = re.sub(r"[^A-Za-z0-9_]+", "_", database).strip("_")[:40] or "database"
    return f"{plain}-{when:%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def find_pg_dump(login: t.Mapping[str, t.Any], server_version: int) -> Program:
    """A pg_dump that can dump this server; raises RollbackError."""
    program = find_program("pg_dump", login.get("bin_dir"))
    if program.major < server_version // 10000:
        raise DumpError(
            f"{program.path} is of PostgreSQL {program.major} and cannot dump a server of "
            f"PostgreSQL {server_version // 10000}. No backup was made. Set bin_dir to newer "
            "client programs."
        )
    return program


def create(request: Request) -> Path:
    """Make a backup; its folder, complete. Raises RollbackError, and then there is none."""
    with connect(request.login, request.database, settings=SESSION) as connection:
        program = find_pg_dump(request.login, connection.info.server_version)
        started = now()
        identity = new_id(request.database, started)
        with partial_folder(request.dest, identity) as folder:
            try:
                tables, snapshot = _snapshot(connection, request)
                manifest = _dump(request, connection, program, folder, tables, snapshot)
            except psycopg.Error as exc:
                raise DumpError(
                    f"database {request.database!r} could not be read: {one_line(exc)}. No backup "
                    "was made."
                ) from exc
            manifest = replace(
                manifest,
                **_files(folder),
                id=identity,
                started=utc(started),
                finished=utc(now()),
            )
            write_durably(folder / MANIFEST, manifest_text(manifest))
            final = request.dest / identity
            folder.rename(final)
        sync(request.dest)
    return final


def _snapshot(connection: psycopg.Connection, request: Request) -> tuple[list[Table], str]:
    """Lock the tables, then take the snapshot, so that no table is rewritten in between."""
    apply_settings(connection, {"lock_timeout": f"{int(request.lock_timeout * 1000)}ms"})
    for _attempt in range(_ATTEMPTS):
        tables = read_tables(connection)
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        try:
            if tables:
                names = ", ".join(f"ONLY {table.relation}" for table in tables)
                connection.execute(f"LOCK TABLE {names} IN ACCESS SHARE MODE")
            row = connection.execute("SELECT pg_catalog.pg_export_snapshot()").fetchone()
            snapshot = str(t.cast("tuple[t.Any, ...]", row)[0])
            seen = read_tables(connection)
        except psycopg.errors.UndefinedTable:  # dropped since it was listed
            seen = []
        if {one.label for one in seen} == {one.label for one in tables}:
            return seen, snapshot
        connection.execute("ROLLBACK")
    raise DumpError(
        f"tables of {request.database!r} are made and dropped all the time; {_ATTEMPTS} attempts "
        "to lock them failed. No backup was made. Try again when no migration runs."
    )


def _dump(
    request: Request,
    connection: psycopg.Connection,
    program: Program,
    folder: Path,
    tables: list[Table],
    snapshot: str,
) -> Manifest:
    """Run pg_dump and read the contents at the same time, in the same snapshot."""
    facts = _facts(request, connection)
    before = read_sequences(connection)
    algorithm = algorithm_of(connection.info.server_version)
    argv = _pg_dump_argv(request, program, folder, snapshot, facts)
    with contextlib.ExitStack() as stack:
        readers = [stack.enter_context(_reader(request, snapshot)) for _job in range(request.jobs)]
        running = stack.enter_context(Running(argv, client_environment(request.login)))
        contents = _both(running, readers, tables, algorithm)
    objects = large_objects(connection, algorithm)
    sizes: dict[str, int] = {}
    for table in tables:
        sizes[table.total] = sizes.get(table.total, 0) + table.blocks * 8192
    after = read_sequences(connection)
    return Manifest(
        **facts,
        id="",
        started="",
        finished="",
        bytes=0,
        files={},
        client_version=program.version,
        algorithm=algorithm,
        tables={
            label: {**asdict(content), "bytes": sizes[label]} for label, content in contents.items()
        },
        large_objects=asdict(objects),
        sequences={
            name: {"before": value, "after": after.get(name, value)}
            for name, value in before.items()
        },
        objects=read_objects(connection),
    )


def _both(
    running: Running,
    readers: t.Sequence[psycopg.Connection],
    tables: t.Sequence[Table],
    algorithm: str,
) -> dict[str, Content]:
    """Wait for pg_dump and for the contents; the failure of one ends the other."""
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        contents = pool.submit(read_contents, readers, tables, algorithm)
        try:
            while not running.is_done(0.1):
                if contents.done() and contents.exception() is not None:
                    break
            else:
                running.check("No backup was made.")
        except RollbackError:
            for reader in readers:
                reader.cancel()
            raise
        return contents.result()


def _facts(request: Request, connection: psycopg.Connection) -> dict[str, t.Any]:
    row = connection.execute(
        "SELECT pg_catalog.pg_database_size(pg_catalog.current_database())"
    ).fetchone()
    return {
        "database": request.database,
        "label": request.label,
        "format": request.format,
        "server_version": connection.info.server_version,
        "database_bytes": int(t.cast("tuple[t.Any, ...]", row)[0]),
        "properties": read_properties(connection),
        "extensions": read_extensions(connection),
        "roles": read_roles(connection),
        "tablespaces": read_tablespaces(connection),
    }


def _reader(request: Request, snapshot: str) -> psycopg.Connection:
    connection = connect(request.login, request.database, settings=SESSION)
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
    connection.execute("SET TRANSACTION SNAPSHOT '" + snapshot.replace("'", "''") + "'")
    return connection


def _pg_dump_argv(
    request: Request,
    program: Program,
    folder: Path,
    snapshot: str,
    facts: t.Mapping[str, t.Any],
) -> list[str]:
    parallel = [f"--jobs={request.jobs}"] if request.format == "directory" else []
    return [
        program.path,
        f"--format={request.format}",
        f"--file={folder / DUMP}",
        f"--snapshot={snapshot}",
        # The server's own encoding: nothing is converted, so nothing can be lost.
        f"--encoding={facts['properties']['encoding']}",
        f"--lock-wait-timeout={int(request.lock_timeout * 1000)}",
        "--no-password",
        *parallel,
        f"--dbname={client_conninfo(request.login, request.database, _SETTINGS)}",
    ]


def _files(folder: Path) -> dict[str, t.Any]:
    """The dump's files as the manifest lists them, each on the disk for good."""
    listed = {}
    for name, path in dump_files(folder).items():
        sync(path)
        path.chmod(0o600)
        listed[name] = {"bytes": path.stat().st_size, "sha256": file_digest(path)}
    if (folder / DUMP).is_dir():
        sync(folder / DUMP)
    return {"files": listed, "bytes": sum(each["bytes"] for each in listed.values())}
