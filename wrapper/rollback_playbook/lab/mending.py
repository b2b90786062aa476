"""Take every fault out of the lab again but for damaged data, which only a restore mends."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from rollback_playbook.errors import RefusedError, RollbackError
from rollback_playbook.lab import processes, releases, seeding, supervision
from rollback_playbook.lab.access_rules import let_shop_in
from rollback_playbook.lab.asking import ask
from rollback_playbook.lab.certificates import issue
from rollback_playbook.lab.claim import claimed
from rollback_playbook.lab.configuration import reset_configuration
from rollback_playbook.lab.crawler import Crawler
from rollback_playbook.lab.deployment import restart_shop
from rollback_playbook.lab.places import Lab, LabState
from rollback_playbook.lab.proxy import write_proxy
from rollback_playbook.lab.reloading import reload_proxy
from rollback_playbook.lab.sessions import open_probe_sessions

#: What scenarios and the shop keep in Valkey beside the sessions of its customers.
_KEYS = ("product:*", "live:session:*", "rate:*", "*pybreaker*", "*rollback:hold*")


def mend_lab(directory: Path) -> None:
    """The good release as it is shipped, everything running, nothing paused, nobody locked out.

    Raises RefusedError when the data are damaged: mending those is what the scenarios are for.
    """
    lab = Lab(directory)
    with claimed(directory):
        state = lab.state()
        if not supervision.supervisor_answers(state):
            raise RefusedError(
                f"the lab in {directory} is not up; nothing was changed",
                hint="rollback-playbook lab up",
            )
        Crawler(lab).stop()
        _start_everything(lab, state)
        let_shop_in(lab)
        _require_whole_data(state)
        _forget(lab, state)
        _mend_shop(lab)
        _mend_proxy(lab, state)
        open_probe_sessions(state)
        processes.wait_until(
            f"the shop is not healthy (see {lab.logs / 'shop.log'})",
            lambda: ask(state.ports["nginx"], "/health").get("status") == "ok",
        )


def _start_everything(lab: Lab, state: LabState) -> None:
    for program, line in supervision.programs(state).items():
        if not line.startswith(("RUNNING", "STARTING")):
            supervision.start(state, program)
    with suppress(RollbackError):
        os.kill(supervision.pid(state, "payment"), signal.SIGCONT)
    processes.wait_until(
        f"PostgreSQL does not answer (see {lab.logs / 'postgres.log'})",
        lambda: seeding.answers(state),
    )


def _require_whole_data(state: LabState) -> None:
    with seeding.connect(state, "shop") as connection:
        row = connection.execute("SELECT max(version) FROM schema_migrations").fetchone()
    if row is None or row[0] != 1:
        raise RefusedError(
            "the lab's data are damaged by the migration of release 1.1.0",
            hint="rollback-playbook full -i lab, or begin anew with lab down --purge",
        )


def _forget(lab: Lab, state: LabState) -> None:
    """Breakers, counters, locks, and attempts that did not finish."""
    import redis

    cache = redis.Redis(port=state.ports["valkey"])
    for pattern in _KEYS:
        for key in cache.scan_iter(pattern, count=1000):
            cache.delete(key)
    for name in ("locks", "restore-points"):
        shutil.rmtree(lab.directory / name, ignore_errors=True)


def _mend_shop(lab: Lab) -> None:
    changed = reset_configuration(lab)
    if changed or releases.linked_release(lab) != releases.GOOD or _held(lab):
        releases.link(lab, releases.GOOD)
        restart_shop(lab)


def _held(lab: Lab) -> bool:
    """Whether the process that runs is of another release than the one that is linked."""
    running = ask(lab.state().ports["shop"], "/health").get("release")
    return bool(running != releases.linked_release(lab))


def _mend_proxy(lab: Lab, state: LabState) -> None:
    (lab.nginx / "maintenance.conf").write_text("", encoding="utf-8")
    issue(lab.certificates)
    write_proxy(lab, state)
    reload_proxy(lab)
