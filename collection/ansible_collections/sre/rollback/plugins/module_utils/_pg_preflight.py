# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Everything that would make a restore fail later, found while nothing has changed.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import contextlib
import os
import typing as t
from pathlib import Path

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._pg_event_triggers import event_triggers
from ansible_collections.sre.rollback.plugins.module_utils._postgres import (
    DatabaseUnreachableError,
    connect,
)

if t.TYPE_CHECKING:
    import psycopg

    from ansible_collections.sre.rollback.plugins.module_utils._pg_journal import Database
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import Manifest
    from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import Program

# The restored database itself, its WAL, and what sorting indexes needs meanwhile.
_SPACE = 1.3
_LOCAL_HOSTS = (None, "", "localhost", "127.0.0.1", "::1")


class RefusedError(RollbackError):
    """Nothing was changed, and nothing will be until what the message says is done."""


def refuse(problems: t.Sequence[str]) -> None:
    """Raise RefusedError with all ``problems``, if there are any."""
    if problems:
        raise RefusedError(f"{'; '.join(problems)}. Nothing was changed.", problems=list(problems))


def version_problems(manifest: Manifest, program: Program, server_version: int) -> list[str]:
    """Whether program and server know what the dump holds."""
    problems = []
    if manifest.client_version // 10000 > program.major:
        problems.append(
            f"the dump was written by pg_dump {manifest.client_version // 10000}, and "
            f"{program.path} is of {program.major}: install the newer client programs or set "
            "bin_dir"
        )
    if manifest.major > server_version // 10000:
        problems.append(
            f"the dump is of PostgreSQL {manifest.major}, and the server is PostgreSQL "
            f"{server_version // 10000}: restore it to a server that is not older"
        )
    return problems


def need_problems(connection: psycopg.Connection, manifest: Manifest, amcheck: str) -> list[str]:
    """Roles, extensions and tablespaces that the dump needs and the server lacks."""
    roles = _missing(connection, "SELECT rolname FROM pg_roles", manifest.roles)
    extensions = _missing(
        connection, "SELECT name FROM pg_available_extensions", manifest.extensions
    )
    tablespaces = _missing(connection, "SELECT spcname FROM pg_tablespace", manifest.tablespaces)
    problems = []
    if roles:
        problems.append(f"the dump needs roles that the server lacks: {roles}: create them")
    if extensions:
        problems.append(
            f"the dump needs extensions that the server lacks: {extensions}: install them"
        )
    if tablespaces:
        problems.append(
            f"the dump needs tablespaces that the server lacks: {tablespaces}: create them"
        )
    if amcheck != "none" and _missing(
        connection, "SELECT name FROM pg_available_extensions", ["amcheck"]
    ):
        problems.append(
            "the server lacks the extension amcheck: install PostgreSQL's contrib modules or set "
            "amcheck=none"
        )
    return problems


def _missing(connection: psycopg.Connection, query: str, wanted: t.Iterable[str]) -> str:
    there = {name for (name,) in connection.execute(query)}
    return ", ".join(name for name in sorted(wanted) if name not in there)


def privilege_problems(
    connection: psycopg.Connection, live: Database | None, amcheck: str, manifest: Manifest
) -> list[str]:
    """What the role may not do and would have to."""
    row = connection.execute(
        "SELECT rolsuper, rolcreatedb, current_user::text,"
        " pg_has_role('pg_signal_backend', 'USAGE') FROM pg_roles WHERE rolname = current_user"
    ).fetchone()
    superuser, creates, name, signals = t.cast("tuple[t.Any, ...]", row)
    if superuser:
        return []
    problems = []
    if not creates:
        problems.append(f"role {name} may not create databases: ALTER ROLE … CREATEDB")
    if amcheck != "none":
        problems.append(f"role {name} is no superuser, which amcheck needs: set amcheck=none")
    triggers = event_triggers(manifest)
    if triggers:
        problems.append(
            f"role {name} is no superuser, which the dump's event triggers need: "
            f"{', '.join(triggers)}"
        )
    owners = set(manifest.roles) | ({live.owner} if live else set())
    lacking = [
        role
        for role in sorted(owners)
        for (member,) in connection.execute(
            "SELECT pg_has_role(r.oid, 'MEMBER') FROM pg_roles r WHERE r.rolname = %s", [role]
        )
        if not member
    ]
    if lacking:
        problems.append(
            f"role {name} is not a member of {', '.join(lacking)}, who own or are granted objects: "
            "GRANT them to it"
        )
    if live is not None and not signals:
        problems.append(
            f"role {name} may not end other roles' sessions: GRANT pg_signal_backend to it"
        )
    return problems


def stranded_problems(
    login: t.Mapping[str, t.Any],
    connection: psycopg.Connection,
    live: Database,
    accepted: t.Sequence[str],
) -> list[str]:
    """What is tied to the live database and would stay behind with its predecessor."""
    found = {
        "replication_slots": _names(
            connection,
            "SELECT slot_name FROM pg_replication_slots WHERE database = %s ORDER BY 1",
            [live.name],
        ),
        "subscriptions": _subscriptions(connection, live),
        "publications": _publications(login, live),
    }
    words = {
        "replication_slots": "logical replication slots",
        "subscriptions": "subscriptions",
        "publications": "publications",
    }
    problems = [
        f"{live.name} has {words[kind]} that a swap would leave behind: {', '.join(names)}: drop "
        f"them, or put {kind} into accept and set them up again afterwards"
        for kind, names in found.items()
        if names and kind not in accepted
    ]
    prepared = _names(
        connection,
        "SELECT gid FROM pg_prepared_xacts WHERE database = %s ORDER BY 1",
        [live.name],
    )
    if prepared:
        problems.append(
            f"{live.name} has prepared transactions, with which a database cannot be renamed: "
            f"{', '.join(prepared)}: COMMIT PREPARED or ROLLBACK PREPARED each"
        )
    return problems


def _names(
    connection: psycopg.Connection, query: str, parameters: t.Sequence[t.Any] = ()
) -> list[str]:
    return [str(name) for (name,) in connection.execute(query, parameters or None)]


def _subscriptions(connection: psycopg.Connection, live: Database) -> list[str]:
    # Only some columns may be read by everybody; these may.
    return _names(
        connection,
        "SELECT subname FROM pg_subscription WHERE subdbid = %s ORDER BY 1",
        [live.oid],
    )


def _publications(login: t.Mapping[str, t.Any], live: Database) -> list[str]:
    if not live.allows_connections:
        return []
    try:
        with connect(login, live.name) as connection:
            return _names(connection, "SELECT pubname FROM pg_publication ORDER BY 1")
    except DatabaseUnreachableError:
        # A database too damaged to be connected to is what restores are for.
        return []


def space_problems(
    login: t.Mapping[str, t.Any],
    connection: psycopg.Connection,
    needed: int,
    tablespace: str,
) -> tuple[list[str], str]:
    """Whether the server has room for ``needed`` bytes, and why that is not known."""
    folder, unknown = _data_folder(login, connection, tablespace)
    if folder is None:
        return [], unknown
    state = os.statvfs(folder)
    free = state.f_bavail * state.f_frsize
    wanted = int(needed * _SPACE)
    if free >= wanted:
        return [], ""
    return [
        f"{folder} has {_mebibytes(free)} free; restoring beside the live database needs about "
        f"{_mebibytes(wanted)}: make room"
    ], ""


def _mebibytes(count: int) -> str:
    return f"{count / 1048576:,.0f} MiB"


def _data_folder(
    login: t.Mapping[str, t.Any], connection: psycopg.Connection, tablespace: str
) -> tuple[Path | None, str]:
    """The folder that grows, when the server runs on this very host."""
    unknown = "the free disk space of the server cannot be seen from this host"
    host = login.get("login_host")
    if host not in _LOCAL_HOSTS and not str(host).startswith("/"):
        return None, unknown
    row = (
        connection.execute(
            "SELECT current_setting('data_directory', true), pg_tablespace_location(oid),"
            " (pg_control_system()).system_identifier FROM pg_tablespace WHERE spcname = %s",
            [tablespace],
        ).fetchone()
        if _may_see(connection)
        else None
    )
    if row is None or not row[0]:
        return None, unknown
    data = Path(row[0])
    with contextlib.suppress(OSError):
        if _is_same_server(data, int(row[2])):
            return (Path(row[1]) if row[1] else data), ""
    return None, unknown


def _may_see(connection: psycopg.Connection) -> bool:
    row = connection.execute("SELECT pg_has_role('pg_read_all_settings', 'USAGE')").fetchone()
    return bool(row and row[0])


def _is_same_server(data: Path, system_identifier: int) -> bool:
    """A forwarded port may lead anywhere; the identifier in the control file does not lie."""
    with (data / "global" / "pg_control").open("rb") as stream:
        written = stream.read(8)
    return system_identifier & (2**64 - 1) in (
        int.from_bytes(written, "little"),
        int.from_bytes(written, "big"),
    )
