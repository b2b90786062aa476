"""Whom the lab's PostgreSQL lets in: its pg_hba.conf."""

from __future__ import annotations

import os
import signal

from rollback_playbook.lab import seeding, supervision
from rollback_playbook.lab.places import Lab

# The first line that fits decides (PostgreSQL, section 20.1).
_SHUT_OUT = "host all shop all reject\n"


def shut_shop_out(lab: Lab) -> None:
    """Somebody hardens the database: the shop's role is refused, its connections are ended."""
    path = lab.access_rules
    path.write_text(_SHUT_OUT + path.read_text(encoding="utf-8"), encoding="utf-8")
    _reload(lab)
    with seeding.connect(lab.state(), "postgres") as connection:
        connection.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'shop'"
        )


def let_shop_in(lab: Lab) -> None:
    """Take that back; does nothing where it was not done."""
    path = lab.access_rules
    text = path.read_text(encoding="utf-8")
    if _SHUT_OUT in text:
        path.write_text(text.replace(_SHUT_OUT, ""), encoding="utf-8")
        _reload(lab)


def _reload(lab: Lab) -> None:
    os.kill(supervision.pid(lab.state(), "postgres"), signal.SIGHUP)
