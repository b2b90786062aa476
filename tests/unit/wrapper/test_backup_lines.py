"""The list of backups as a person reads it."""

from __future__ import annotations

from typing import Any

from rollback_playbook.cli.backups import backup_lines

_WHOLE: dict[str, Any] = {
    "id": "shop-20260304T020000Z-7c65",
    "age": 4500.2,
    "bytes": 52428800,
    "server_version": 180006,
    "label": "2.3.1",
    "complete": True,
    "problem": None,
    "proved": {"at": "2026-03-04T02:05:00Z"},
}


def test_list_shows_age_size_server_release_and_proof_below_a_heading() -> None:
    heading, line = backup_lines([_WHOLE])

    assert heading.split("  ")[0].strip() == "backup"
    assert line.startswith("shop-20260304T020000Z-7c65  1 h 15 min")
    assert line.endswith("52.4 MB  18.6    2.3.1    2026-03-04T02:05:00Z")
    assert heading.index("proved by a restore") == line.index("2026-03-04T02:05:00Z")


def test_backup_that_was_never_restored_is_called_never_proved() -> None:
    assert backup_lines([{**_WHOLE, "proved": None}])[1].endswith("never")


def test_backup_that_is_not_whole_says_why_even_when_it_was_proved_once() -> None:
    line = backup_lines([{**_WHOLE, "complete": False, "problem": "dump/toc.dat is missing"}])[1]

    assert line.endswith("NOT WHOLE: dump/toc.dat is missing")


def test_folder_without_a_manifest_has_no_figures() -> None:
    unknown = dict.fromkeys(_WHOLE)
    line = backup_lines([{**unknown, "id": "odd", "problem": "there is no manifest"}])[1]

    assert line.split() == [
        "odd", "?", "?", "?", "?", "NOT", "WHOLE:", "there", "is", "no", "manifest",
    ]  # fmt: skip
