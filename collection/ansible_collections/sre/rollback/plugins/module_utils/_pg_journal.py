# Copyright (c) 2026, the rollback-playbook authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What the databases of a server say of themselves: staged, live by which restore, kept since when.

It stands in the last line of each database's comment: in the catalogue that all databases share,
so it goes with a database through every rename, changes in the swap's own transaction, and can be
read from any machine.

PRIVATE: for this collection only; can have breaking changes without notice.
"""

from __future__ import annotations

import datetime
import json
import typing as t
from dataclasses import dataclass, field, replace

from ansible_collections.sre.rollback.plugins.module_utils._pg_swap import literal
from ansible_collections.sre.rollback.plugins.module_utils._postgres import fit_name, quoted

if t.TYPE_CHECKING:
    import psycopg

STAGING = "staging"
STAGED = "staged"
LIVE = "live"
KEPT = "kept"
DROPPED = "dropped"
_MARK = "rollback-playbook: "


@dataclass(frozen=True)
class Entry:
    """What one database is.

    ``of`` is the live name it stands for. A ``staging`` one is not finished, a ``staged`` one is
    proved, a ``kept`` one was live, a ``dropped`` one is lost. ``restore_id`` and ``backup`` name
    the restore that made it; they are empty for one that no restore made. ``by`` names the restore
    that put it where it is or, of one that came back to be live (``facts`` say so), the restore
    that was undone.
    ``predecessor`` is what was live before a ``live`` one, ``formerly`` the name it had then.
    """

    role: str
    of: str
    restore_id: str = ""
    backup: str = ""
    digest: str = ""
    at: str = ""
    by: str = ""
    predecessor: str = ""
    formerly: str = ""
    facts: dict[str, t.Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Database:
    """A database of the server; ``entry`` is None where none of ours is written.

    ``row_version`` is another one after every ALTER DATABASE that sets an option.
    """

    oid: int
    name: str
    owner: str
    allows_connections: bool
    comment: str
    entry: Entry | None
    row_version: str = ""


def moment() -> str:
    """Now, as an entry says it: two swaps may be of one second, and the later one counts."""
    return f"{datetime.datetime.now(datetime.timezone.utc):%Y-%m-%dT%H:%M:%S.%fZ}"


def read_databases(connection: psycopg.Connection) -> dict[str, Database]:
    """Every database by name.

    One whose DROP was cut off by the end of the server is ``dropped``: nothing but another DROP is
    possible then (PostgreSQL marks it with ``datconnlimit`` -2).
    """
    rows = connection.execute(
        "SELECT oid::int8, datname, pg_get_userbyid(datdba), datallowconn,"
        " coalesce(shobj_description(oid, 'pg_database'), ''), xmin::text, datconnlimit = -2"
        " FROM pg_database"
    )
    found = {}
    for oid, name, owner, allows, comment, version, invalid in rows:
        own, entry = parse_comment(comment)
        if entry is not None and invalid:
            entry = replace(entry, role=DROPPED)
        found[name] = Database(oid, name, owner, allows, own, entry, version)
    return found


def parse_comment(comment: str) -> tuple[str, Entry | None]:
    """The owner's own comment, and ours."""
    own, mark, written = comment.rpartition(_MARK)
    if not mark or (own and not own.endswith("\n")):
        return comment, None
    try:
        return own.rstrip("\n"), Entry(**json.loads(written))
    except (ValueError, TypeError):
        return comment, None


def comment_statement(name: str, own: str, entry: Entry | None) -> str:
    """The statement that writes both into the comment of the database ``name``."""
    parts = [own] if own else []
    if entry is not None:
        given = {key: value for key, value in vars(entry).items() if value}
        parts.append(_MARK + json.dumps(given, ensure_ascii=False, sort_keys=True))
    text = literal("\n".join(parts)) if parts else "NULL"
    return f"COMMENT ON DATABASE {quoted(name)} IS {text}"


def of_database(databases: t.Mapping[str, Database], database: str, role: str) -> list[Database]:
    """The databases that stand for ``database`` in ``role``, the latest first."""
    found = [
        one
        for one in databases.values()
        if one.entry is not None and one.entry.of == database and one.entry.role == role
    ]
    # Of two of one second, the database that was made later is the later one.
    return sorted(found, key=lambda one: (one.entry.at if one.entry else "", one.oid), reverse=True)


def staged_name(database: str, backup: str, what: str = "staged") -> str:
    """Where a backup is restored aside; the end of a backup's id is its time and a random part."""
    return fit_name(database, f"__{what}_" + "-".join(backup.split("-")[-2:])[-30:])


def free_name(
    databases: t.Mapping[str, Database], database: str, what: str, restore_id: str
) -> str:
    """A name such as ``shop__before_X`` that no database has, within PostgreSQL's 63 bytes."""
    # Half of the room for either, unless one of them needs less.
    tail = f"__{what}_{restore_id}"
    while len(tail.encode()) > max(40, 63 - len(database.encode())):
        tail = f"__{what}_{tail[len(what) + 4 :]}"
    number = 1
    while True:
        name = fit_name(database, tail if number == 1 else f"{tail}_{number}")
        if name not in databases:
            return name
        number += 1
