"""Whether the shop's data are those of a backup: counted and hashed anew, beside the rollback."""

from __future__ import annotations

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
        read_tables,
    )
    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
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
