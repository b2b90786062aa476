"""nginx reads its configuration again."""

from __future__ import annotations

import signal

import psutil

from rollback_playbook.lab import processes, supervision
from rollback_playbook.lab.places import Lab


def reload_proxy(lab: Lab) -> None:
    """As ``nginx -s reload``, but returns when a new worker is there and the old ones are not.

    Raises RollbackError when nginx does not run, or does not take its configuration.
    """
    master = psutil.Process(supervision.pid(lab.state(), "nginx"))
    before = {worker.pid for worker in master.children()}
    master.send_signal(signal.SIGHUP)
    processes.wait_until(
        f"nginx did not take its configuration (see {lab.nginx / 'error.log'})",
        lambda: bool(workers := master.children()) and all(w.pid not in before for w in workers),
    )
