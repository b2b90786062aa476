"""The shop's two releases side by side, the link that chooses one, and their migrations."""

from __future__ import annotations

import shutil
from pathlib import Path

from rollback_playbook.lab import seeding
from rollback_playbook.lab.places import RELEASES, Lab, LabState

GOOD, BAD = RELEASES
_SOURCES = Path(__file__).parent


def write_releases(lab: Lab) -> None:
    """The good release, and the bad one that most drills deploy."""
    for version in RELEASES:
        write_release(lab, version)
    if not lab.current.is_symlink():
        link(lab, GOOD)


def write_release(lab: Lab, version: str) -> None:
    """The shop with a few files on top, as a commit would be; what is there already stays."""
    target = release_folder(lab, version)
    if target.exists():
        return
    partial = target.with_name(f".{version}")
    shutil.rmtree(partial, ignore_errors=True)
    for source in (_SOURCES / "shop", _SOURCES / "overlays" / version):
        if source.is_dir():
            shutil.copytree(
                source, partial, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
            )
    (partial / "VERSION").write_text(version + "\n", encoding="ascii")
    partial.rename(target)


def release_folder(lab: Lab, version: str) -> Path:
    """Where a release is."""
    return lab.app / "releases" / version


def linked_release(lab: Lab) -> str:
    """The version that ``current`` leads to; empty without a link."""
    return lab.current.readlink().name if lab.current.is_symlink() else ""


def link(lab: Lab, version: str) -> None:
    """Replace the link in one step."""
    fresh = lab.current.with_name(".current")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / version)
    fresh.replace(lab.current)


def migrate(lab: Lab, state: LabState, version: str) -> None:
    """Apply what a release's migrations bring beyond the schema that is there."""
    with seeding.connect(state, "shop") as connection:
        connection.execute("SET ROLE shop")
        row = connection.execute("SELECT max(version) FROM schema_migrations").fetchone()
        applied = int(str(row[0])) if row else 0
        for path in sorted((release_folder(lab, version) / "migrations").glob("*.up.sql")):
            if int(path.name[:4]) > applied:
                with connection.transaction():
                    connection.execute(path.read_bytes())
