"""What pgBackRest's own words mean here."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils import _pgbackrest as module

_STANZA = module.Stanza("main", "/etc/pgbackrest.conf", None)


def backup(label: str, stopped: int, **fields: Any) -> dict[str, Any]:
    """A backup as ``pgbackrest info --output=json`` lists it."""
    return {
        "label": label,
        "timestamp": {"start": stopped - 60, "stop": stopped},
        "info": {"size": 31_000_000},
        "database": {"id": 1, "repo-key": 1},
        "error": False,
        **fields,
    }


def info(*backups: dict[str, Any], code: int = 0, message: str = "ok") -> list[dict[str, Any]]:
    """The output of pgBackRest for one stanza beside another."""
    return [
        {"name": "other", "status": {"code": 0, "message": "ok"}, "db": [], "backup": []},
        {
            "name": "main",
            "status": {"code": code, "message": message},
            "db": [{"id": 1, "version": "15"}],
            "backup": list(backups),
        },
    ]


def moment(seconds: int) -> dt.datetime:
    """A time by its seconds since 1970."""
    return dt.datetime.fromtimestamp(seconds, dt.UTC)


def choose(monkeypatch: pytest.MonkeyPatch, listed: Any, at: int) -> module.BaseBackup:
    """The base backup for a moment, given what pgBackRest lists."""
    monkeypatch.setattr(module, "_info", lambda _stanza: listed)
    return module.base_backup_before(_STANZA, moment(at))


def test_base_backup_is_the_newest_whole_one_before_the_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    listed = info(
        backup("first", 1000), backup("second", 2000), backup("bad", 2500, error=True),
        backup("late", 3000),
    )  # fmt: skip

    found = choose(monkeypatch, listed, 2999)

    assert (found.label, found.major, found.size) == ("second", "15", 31_000_000)
    assert choose(monkeypatch, listed, 3000).label == "late"


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        pytest.param(info(backup("late", 3000)), "the oldest is of 1970-01-01T00:50", id="later"),
        pytest.param(info(), "it has none at all", id="none"),
        pytest.param(info(code=2, message="no valid backups"), "no valid backups", id="status"),
        pytest.param([], "unknown", id="no such stanza"),
    ],
)
def test_base_backup_without_one_is_refused_in_words(
    monkeypatch: pytest.MonkeyPatch, listed: Any, words: str
) -> None:
    with pytest.raises(module.PgBackRestError, match=words):
        choose(monkeypatch, listed, 2000)


def test_restore_argv_writes_nowhere_but_below_the_scratch_folder(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(module.shutil, "which", lambda _name: "/usr/bin/pgbackrest")
    base = module.BaseBackup("20260304-000003F", moment(1000), 1, "15")

    argv = module.restore_argv(
        _STANZA, base, moment(1500), data=Path("/x/data"), tablespaces=Path("/x/spaces")
    )

    assert argv == [
        "/usr/bin/pgbackrest",
        "--config=/etc/pgbackrest.conf",
        "--stanza=main",
        "--log-level-file=off",
        "--pg1-path=/x/data",
        "--tablespace-map-all=/x/spaces",
        "--set=20260304-000003F",
        "--type=time",
        "--target=1970-01-01 00:25:00.000000+00",
        "--target-action=promote",
        "--archive-mode=off",
        "--log-level-console=warn",
        "restore",
    ]
