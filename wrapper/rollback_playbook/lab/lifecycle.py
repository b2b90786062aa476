"""The lab's life: up, status, broken by a bad release, down."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rollback_playbook.errors import RefusedError
from rollback_playbook.lab import processes, releases, seeding, supervision
from rollback_playbook.lab.asking import ask
from rollback_playbook.lab.claim import claimed
from rollback_playbook.lab.configuration import write_configuration
from rollback_playbook.lab.inventory import write_inventory
from rollback_playbook.lab.places import SERVICES, Lab, LabState, check_directory, new_state
from rollback_playbook.lab.ports import free_ports, is_free
from rollback_playbook.lab.postgresql import Cluster, install, server_account
from rollback_playbook.lab.sessions import open_probe_sessions

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
        return _all_run(self.services)


def up(directory: Path, *, scale: float = 1.0, say: Say) -> LabStatus:
    """Start the lab, or what is missing of it; seeds the database the first time.

    What a killed lab left running is ended first. A lab keeps the size it was made with. Raises
    RefusedError or UsageError before anything is changed, RollbackError with the log's place.
    """
    lab = Lab(directory)
    fresh = None if lab.exists else _make_room(lab, scale)
    with claimed(directory):
        # Another command may have made the lab while this one waited.
        if fresh is not None and not lab.exists:
            lab.write_state(fresh)
        state = lab.state()
        if state.scale != scale:
            say(f"the lab keeps its size, scale {state.scale:g}: it was made with it")
        if not supervision.supervisor_answers(state):
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
        services=supervision.programs(state),
        release=releases.linked_release(lab),
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
    with claimed(directory):
        processes.stop_all(lab, lab.state())
        if purge:
            _remove(lab)


def break_release(directory: Path, *, migrate: bool = True) -> None:
    """Deploy 1.1.0 as a bad deployment would: migration, link, restart.

    Without ``migrate`` the code alone is bad and the data stay whole. Raises RefusedError when the
    lab is not up.
    """
    from rollback_playbook.lab.breaking import break_lab, fault_named

    break_lab(directory, fault_named("bad-release" if migrate else "bad-code"))


def _make_room(lab: Lab, scale: float) -> LabState:
    """The directory, empty, and the state to write there; a folder of somebody else is refused."""
    check_directory(lab.directory)
    if not lab.is_empty:
        raise RefusedError(f"{lab.directory} is not empty and is no lab; nothing was changed")
    state = new_state(scale)
    missing = [each for each in (lab.directory, *lab.directory.parents) if not each.exists()]
    _check_searchable(lab.directory, missing)
    for folder in reversed(missing):
        folder.mkdir(exist_ok=True)
        if server_account() is not None:
            folder.chmod(0o755)
    return state


def _check_searchable(directory: Path, missing: list[Path]) -> None:
    """Root's lab must be where the account that runs PostgreSQL can go."""
    account = server_account()
    if account is None:
        return
    for folder in directory.resolve().parents:
        if folder.exists() and folder not in missing and not folder.stat().st_mode & 0o001:
            raise RefusedError(
                f"root's lab cannot be in {directory}: PostgreSQL runs as {account}, which may "
                f"not enter {folder}; nothing was changed",
                hint="set ROLLBACK_LAB_DIR to a folder that every account can enter",
            )


def _remove(lab: Lab) -> None:
    """The state goes last, so that a purge that was interrupted can be asked for again."""
    state = lab.directory / "lab.json"
    for path in lab.directory.iterdir():
        if path == state:
            continue
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    state.unlink()
    lab.directory.rmdir()


def _clean_start(lab: Lab, state: LabState, say: Say) -> LabState:
    """End what is left, choose other ports where strangers took ours, start the supervisor."""
    processes.stop_all(lab, state)
    taken = tuple(name for name in SERVICES if not _keeps_port(state, name))
    if taken:
        say(f"other ports for {', '.join(taken)}: the old ones are taken")
        state = replace(state, ports={**state.ports, **free_ports(taken)})
        lab.write_state(state)
    if server_account() is not None:
        lab.directory.chmod(0o755)
    releases.write_releases(lab)
    cluster = _cluster(lab, state)
    cluster.initialise(state.database_password)
    # A postmaster that was killed leaves its lock file; stop_all has made sure that it is gone.
    (cluster.data_dir / "postmaster.pid").unlink(missing_ok=True)
    write_configuration(lab, state, cluster)
    lab.backups.mkdir(mode=0o700, exist_ok=True)
    supervision.launch(lab)
    processes.wait_until(
        f"the lab's supervisor does not answer (see {lab.logs / 'supervisord.log'})",
        lambda: supervision.supervisor_answers(state),
    )
    return state


def _keeps_port(state: LabState, name: str) -> bool:
    return name in state.ports and is_free(state.ports[name])


def _start_services(lab: Lab, state: LabState, say: Say) -> None:
    for name, line in supervision.programs(state).items():
        if not line.startswith(("RUNNING", "STARTING")):
            supervision.start(state, name)
    processes.wait_until(
        f"PostgreSQL does not answer (see {lab.logs / 'postgres.log'})",
        lambda: seeding.answers(state),
    )
    if not seeding.is_seeded(state):
        say(f"seeding {int(seeding.ORDERS * state.scale):,} orders")
        seeding.seed(state, releases.release_folder(lab, releases.GOOD) / "migrations")
        processes.control(lab, "restart", "shop")
    open_probe_sessions(state)
    processes.wait_until(
        f"the shop is not healthy (see {lab.logs / 'shop.log'})",
        lambda: (
            ask(state.ports["nginx"], "/health").get("status") == "ok" or _maintained(lab, state)
        ),
    )
    processes.wait_until(
        f"not every program of the lab stays up (see {lab.logs / 'supervisord.log'})",
        lambda: _all_run(supervision.programs(state)),
    )


def _all_run(services: Mapping[str, str]) -> bool:
    """A program answers before the supervisor, which watches it for a second, says that it runs."""
    return bool(services) and all(line.startswith("RUNNING") for line in services.values())


def _maintained(lab: Lab, state: LabState) -> bool:
    """A lab whose traffic was paused by a rollback is up when the shop behind it is."""
    paused = (lab.nginx / "maintenance.conf").read_text(encoding="utf-8").strip() != ""
    return paused and ask(state.ports["shop"], "/health").get("status") == "ok"


def _cluster(lab: Lab, state: LabState) -> Cluster:
    return Cluster(
        bin_dir=install(lab.directory),
        data_dir=lab.postgres,
        port=state.ports["postgres"],
        account=server_account(),
    )
