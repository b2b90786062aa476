"""The lab's life: up, status, broken by a bad release, down."""

from __future__ import annotations

import http.client
import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RefusedError
from rollback_playbook.lab import processes, seeding
from rollback_playbook.lab.configuration import write_configuration
from rollback_playbook.lab.inventory import write_inventory
from rollback_playbook.lab.places import (
    RELEASES,
    SERVICES,
    Lab,
    LabState,
    free_ports,
    is_free,
    new_state,
)
from rollback_playbook.lab.postgresql import Cluster, install, server_account

_GOOD, _BAD = RELEASES
_SOURCES = Path(__file__).parent

Say = Callable[[str], None]


@dataclass(frozen=True)
class LabStatus:
    """What runs, and what users get."""

    directory: Path
    services: dict[str, str]
    release: str
    health: dict[str, Any]
    url: str

    @property
    def up(self) -> bool:
        """Whether every service runs."""
        return bool(self.services) and all(
            line.startswith("RUNNING") for line in self.services.values()
        )


def up(directory: Path, *, scale: float = 1.0, say: Say) -> LabStatus:
    """Start the lab, or what is missing of it; seeds the database the first time.

    What a killed lab left running is ended first. Raises RollbackError with the log's place.
    """
    lab = Lab(directory)
    state = _prepared(lab, scale)
    if not processes.supervisor_answers(lab):
        state = _clean_start(lab, state, say)
    _start_services(lab, state, say)
    write_inventory(lab, state, bin_dir=_cluster(lab, state).bin_dir)
    return status(directory)


def status(directory: Path) -> LabStatus:
    """Look at the lab; raises RefusedError when there is none."""
    lab = Lab(directory)
    state = lab.state()
    return LabStatus(
        directory=directory,
        services=processes.status_lines(lab),
        release=lab.current.readlink().name if lab.current.is_symlink() else "",
        health=ask(state.ports["shop"], "/health"),
        url=state.url,
    )


def down(directory: Path, *, purge: bool = False) -> None:
    """End every process of the lab; raises RollbackError when one does not end.

    With ``purge`` the directory goes too. A directory that is no lab is refused.
    """
    lab = Lab(directory)
    if not lab.exists:
        raise RefusedError(f"there is no lab in {directory}; nothing was ended or removed")
    processes.stop_all(lab, lab.state())
    if purge:
        shutil.rmtree(directory)


def break_release(directory: Path, *, migrate: bool = True) -> None:
    """Deploy 1.1.0 as a bad deployment would: link, migration, restart.

    Without ``migrate`` the code alone is bad and the data stay whole.
    """
    lab = Lab(directory)
    state = lab.state()
    release = lab.app / "releases" / _BAD
    if migrate:
        _migrate(state, release / "migrations")
    _link(lab, _BAD)
    processes.control(lab, "restart", "shop")
    processes.wait_until("the bad release answers", lambda: _release_of(state) == _BAD)
    # Pages that customers looked at meanwhile are cached at the new, wrong prices.
    for product in range(1, 51):
        ask(state.ports["shop"], f"/products/{product}")


def ask(port: int, path: str, *, timeout: float = 2.0) -> dict[str, Any]:
    """The JSON answer of a service on loopback, or an empty dict when there is none."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
    try:
        connection.request("GET", path)
        answer = json.loads(connection.getresponse().read())
    except (OSError, http.client.HTTPException, ValueError):
        return {}
    finally:
        connection.close()
    return answer if isinstance(answer, dict) else {}


def _prepared(lab: Lab, scale: float) -> LabState:
    """The directory with its state and the two releases; a folder of somebody else is refused."""
    if lab.exists:
        return lab.state()
    if lab.directory.exists() and any(lab.directory.iterdir()):
        raise RefusedError(f"{lab.directory} is not empty and is no lab; nothing was changed")
    lab.directory.mkdir(parents=True, exist_ok=True)
    lab.directory.chmod(0o755)
    state = new_state(scale)
    lab.write_state(state)
    return state


def _clean_start(lab: Lab, state: LabState, say: Say) -> LabState:
    """End what is left, choose other ports where strangers took ours, start the supervisor."""
    processes.stop_all(lab, state)
    taken = tuple(name for name in SERVICES if not is_free(state.ports[name]))
    if taken:
        say(f"other ports for {', '.join(taken)}: the old ones are taken")
        state = replace(state, ports={**state.ports, **free_ports(taken)})
        lab.write_state(state)
    _write_releases(lab)
    cluster = _cluster(lab, state)
    cluster.initialise(state.database_password)
    # A postmaster that was killed leaves its lock file; stop_all has made sure that it is gone.
    (cluster.data_dir / "postmaster.pid").unlink(missing_ok=True)
    write_configuration(lab, state, cluster)
    lab.backups.mkdir(mode=0o700, exist_ok=True)
    processes.start_supervisor(lab)
    return state


def _start_services(lab: Lab, state: LabState, say: Say) -> None:
    processes.wait_until(
        f"PostgreSQL does not answer (see {lab.logs / 'postgres.log'})",
        lambda: _database_answers(state),
    )
    if not seeding.is_seeded(state):
        say(f"seeding {int(seeding.ORDERS * state.scale):,} orders")
        seeding.seed(state, lab.app / "releases" / _GOOD / "migrations")
        processes.control(lab, "restart", "shop")
    for name, line in processes.status_lines(lab).items():
        if not line.startswith(("RUNNING", "STARTING")):
            processes.control(lab, "start", name)
    processes.wait_until(
        f"the shop is not healthy (see {lab.logs / 'shop.log'})",
        lambda: (
            ask(state.ports["nginx"], "/health").get("status") == "ok" or _maintained(lab, state)
        ),
    )


def _maintained(lab: Lab, state: LabState) -> bool:
    """A lab whose traffic was paused by a rollback is up when the shop behind it is."""
    paused = (lab.nginx / "maintenance.conf").read_text(encoding="utf-8").strip() != ""
    return paused and ask(state.ports["shop"], "/health").get("status") == "ok"


def _cluster(lab: Lab, state: LabState) -> Cluster:
    return Cluster(
        bin_dir=install(lab.directory),
        data_dir=lab.directory / "postgres",
        port=state.ports["postgres"],
        account=server_account(),
    )


def _database_answers(state: LabState) -> bool:
    import psycopg

    try:
        seeding.connect(state, "postgres").close()
    except psycopg.OperationalError:
        return False
    return True


def _write_releases(lab: Lab) -> None:
    """Both releases side by side; 1.1.0 is 1.0.0 with a few files on top, as a commit would be."""
    for version, overlays in ((_GOOD, ()), (_BAD, ("shop_1_1_0",))):
        target = lab.app / "releases" / version
        if target.exists():
            continue
        partial = target.with_name(f".{version}")
        shutil.rmtree(partial, ignore_errors=True)
        for source in ("shop", *overlays):
            shutil.copytree(
                _SOURCES / source,
                partial,
                dirs_exist_ok=True,
                ignore=shutil.ignore_patterns("__pycache__"),
            )
        (partial / "VERSION").write_text(version + "\n", encoding="ascii")
        partial.rename(target)
    if not lab.current.is_symlink():
        _link(lab, _GOOD)


def _link(lab: Lab, version: str) -> None:
    """Replace the link in one step."""
    fresh = lab.current.with_name(".current")
    fresh.unlink(missing_ok=True)
    fresh.symlink_to(Path("releases") / version)
    fresh.replace(lab.current)


def _migrate(state: LabState, migrations: Path) -> None:
    with seeding.connect(state, "shop") as connection:
        row = connection.execute("SELECT max(version) FROM schema_migrations").fetchone()
        applied = int(str(row[0])) if row else 0
        for path in sorted(migrations.glob("*.up.sql")):
            if int(path.name[:4]) > applied:
                with connection.transaction():
                    connection.execute(path.read_bytes())


def _release_of(state: LabState) -> str:
    return str(ask(state.ports["shop"], "/health").get("release", ""))
