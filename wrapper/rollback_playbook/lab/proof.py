"""Whether the shop's data are those of a backup: counted and hashed anew, beside the rollback."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rollback_playbook.lab.places import Lab
from rollback_playbook.lab.seeding import connect


def compare_with_backup(lab: Lab, backup: str) -> dict[str, Any]:
    """The live tables against the manifest of ``backup``.

    ``{backup, tables, rows, different}``: ``different`` names every table that is missing, is too
    many, or holds other rows. Raises the collection's BackupError when there is no such backup.
    """
    from ansible_collections.sre.rollback.plugins.module_utils._pg_content import (
        SESSION,
        read_contents,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
    from ansible_collections.sre.rollback.plugins.module_utils._pg_tables import read_tables
    from ansible_collections.sre.rollback.plugins.module_utils._postgres import apply_settings

    manifest = read_manifest(Path(lab.backups) / backup)
    with connect(lab.state(), manifest.database) as connection:
        apply_settings(connection, SESSION)
        found = read_contents([connection], read_tables(connection), manifest.algorithm)
    wanted = {name: table["digest"] for name, table in manifest.tables.items()}
    live = {name: content.digest for name, content in found.items()}
    names = wanted.keys() | live.keys()
    return {
        "backup": backup,
        "tables": len(wanted),
        "rows": sum(content.rows for content in found.values()),
        "different": sorted(name for name in names if wanted.get(name) != live.get(name)),
    }


@dataclass(frozen=True)
class Written:
    """Orders that users placed after the backup, each as it was placed: its row by its number."""

    orders: dict[int, str]
    lines: dict[int, str]

    @property
    def count(self) -> int:
        return len(self.orders)


_SELECT = "SELECT id, to_jsonb(t)::text FROM {table} t"


def written_since(lab: Lab, backup: str) -> Written:
    """The orders, with their lines, whose numbers the backup does not know."""
    sequences = _manifest(lab, backup)["sequences"]
    orders, lines = (
        _rows(lab, f"{_SELECT.format(table=table)} WHERE id > %s", sequences[name]["before"][0])
        for table, name in (
            ("orders", "public.orders_id_seq"),
            ("order_lines", "public.order_lines_id_seq"),
        )
    )
    return Written(orders, lines)


def newest_backup(lab: Lab) -> str:
    """The id of the backup that was made last."""
    manifests = lab.backups.glob("*/manifest.json")
    return max(manifests, key=lambda path: path.stat().st_mtime_ns).parent.name


def counted(written: Written, at_risk: dict[str, Any]) -> dict[str, Any]:
    """Whether a decision counted these orders before anybody approved it."""
    tables = {each["table"]: each for each in at_risk.get("tables", ())}
    found = tables.get("public.orders", {}).get("added")
    return {
        "orders": written.count,
        "counted": found,
        "said": at_risk.get("summary", ""),
        "right": found == written.count,
    }


def kept(lab: Lab, written: Written) -> dict[str, Any]:
    """Whether these orders stand in the files that were exported before the swap."""
    folder = _newest_export(lab)
    ids = _ids_in(folder, "orders") if folder else set()
    missing = written.orders.keys() - ids
    return {"orders": written.count, "missing": len(missing), "in": str(folder or "")}


def live_again(lab: Lab, written: Written) -> dict[str, Any]:
    """Whether these orders are live, each as it was placed, with its lines."""
    wrong = {
        table: _differing(rows, _live(lab, table, rows))
        for table, rows in (("orders", written.orders), ("order_lines", written.lines))
    }
    return {"orders": written.count, "wrong": wrong}


def _differing(wanted: dict[int, str], found: dict[int, str]) -> int:
    return sum(1 for number, row in wanted.items() if found.get(number) != row)


def _live(lab: Lab, table: str, rows: Iterable[int]) -> dict[int, str]:
    return _rows(lab, f"{_SELECT.format(table=table)} WHERE id = ANY(%s)", list(rows))


def _rows(lab: Lab, query: str, value: object) -> dict[int, str]:
    """Rows as text by their number."""
    with connect(lab.state(), "shop") as connection:
        found = connection.execute(query.encode(), [value]).fetchall()
    return {int(str(number)): str(row) for number, row in found}


def _manifest(lab: Lab, backup: str) -> dict[str, Any]:
    path = lab.backups / backup / "manifest.json"
    document: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return document


def _newest_export(lab: Lab) -> Path | None:
    folders = (lab.directory / "restore-points" / "salvage").glob("*-export-*")
    return max(folders, key=lambda path: path.stat().st_mtime_ns, default=None)


def _ids_in(folder: Path, table: str) -> set[int]:
    """The keys of the rows that only the live database had."""
    ids: set[int] = set()
    for path in folder.glob(f"*.{table}.added.csv"):
        with path.open(encoding="utf-8", newline="") as stream:
            ids.update(int(row["id"]) for row in csv.DictReader(stream))
    return ids
