"""configuration_files: sets of files that come back whole and tested, or stay as they are."""

from __future__ import annotations

import json
import stat
import subprocess
import sys

import pytest

from rollback_playbook.lab.proxy import nginx_binary
from tests.configuration_site import Site

pytestmark = pytest.mark.integration


def test_what_was_backed_up_comes_back_with_its_modes_and_the_service_reads_it(site: Site) -> None:
    made = site.back_up(label="1.0.0")
    site.damage()
    site.key.chmod(0o644)

    result = site.restore()

    assert result["changed"], result
    assert result["backup"]["id"] == made["backup"]["id"]
    assert site.config.read_text() == "worker_processes 4;\n"
    assert site.key.read_text() == "PRIVATE KEY of the site\n"
    assert stat.S_IMODE(site.key.stat().st_mode) == 0o600
    assert site.reloads == 1


def test_restoring_twice_changes_nothing_and_reloads_nothing(site: Site) -> None:
    site.back_up()
    site.damage()
    site.restore()

    again = site.restore()

    assert not again["changed"]
    assert again["undo"] is None
    assert site.reloads == 1


def test_backing_up_twice_keeps_one_backup(site: Site) -> None:
    first = site.back_up()
    second = site.back_up()

    assert (first["changed"], second["changed"]) == (True, False)
    assert second["backup"]["id"] == first["backup"]["id"]


def test_undo_brings_back_what_the_restore_replaced(site: Site) -> None:
    site.back_up()
    site.damage()
    undo = site.restore()["undo"]

    undone = site.run(undo["module"].rpartition(".")[2], undo["args"])

    assert undone["changed"], undone
    assert site.config.read_text() == "worker_processes 0;\n"
    assert site.reloads == 2


def test_a_reload_that_is_left_for_later_is_run_by_the_next_restore_and_only_by_that(
    site: Site,
) -> None:
    site.back_up()
    site.damage()

    written = site.restore(reload_later=True)
    told = site.reloads
    read = site.restore()
    again = site.restore()

    assert (written["changed"], read["changed"], again["changed"]) == (True, True, False)
    assert (told, site.reloads) == (0, 1)
    assert written["undo"] == read["undo"]


def test_undo_runs_a_reload_that_was_left_for_later(site: Site) -> None:
    site.back_up()
    site.damage()
    written = site.restore(reload_later=True)

    site.run("configuration_files", written["undo"]["args"])

    assert site.config.read_text() == "worker_processes 0;\n"
    assert site.reloads == 1
    assert not site.restore(backup=written["undo"]["args"]["backup"])["changed"]


def test_a_file_that_was_not_there_is_removed_again(site: Site) -> None:
    site.config.unlink()
    site.back_up()
    site.damage()

    site.restore()

    assert not site.config.exists()


def test_some_files_of_a_backup_can_be_restored_alone(site: Site) -> None:
    site.back_up()
    site.damage()

    site.restore(paths=[str(site.config)])

    assert site.config.read_text() == "worker_processes 4;\n"
    assert "somebody else" in site.key.read_text()


def test_check_mode_shows_the_difference_and_changes_nothing(site: Site) -> None:
    site.back_up()
    site.damage()

    result = site.restore(check=True, diff=True)

    shown = json.dumps(result["diff"])
    assert result["changed"]
    assert "worker_processes 4" in shown
    assert "PRIVATE KEY" not in shown
    assert site.config.read_text() == "worker_processes 0;\n"
    assert site.reloads == 0


def test_files_that_nginx_refuses_are_put_back_and_nothing_is_reloaded(site: Site) -> None:
    site.config.write_text("events {} http { server { listen 127.0.0.1:1; not_a_directive; } }\n")
    site.back_up()
    site.damage()
    test = [str(nginx_binary()), "-t", "-p", str(site.folder), "-c", str(site.config)]

    result = site.restore(validate=[test])

    assert result["failed"]
    assert "not_a_directive" in result["msg"]
    assert "The files are as they were, and nothing was reloaded" in result["msg"]
    assert site.config.read_text() == "worker_processes 0;\n"
    assert "somebody else" in site.key.read_text()
    assert site.reloads == 0


def test_a_reload_that_fails_puts_the_files_back_and_tells_how_the_service_is(site: Site) -> None:
    site.back_up()
    site.damage()

    result = site.restore(reload=[["false"]])

    assert result["failed"]
    assert "the service may not run" in result["msg"]
    assert site.config.read_text() == "worker_processes 0;\n"


@pytest.mark.parametrize(
    ("test", "why"),
    [
        (["/nowhere/nginx", "-t"], "/nowhere/nginx -t cannot be run: No such file or directory"),
        (["sleep", "600"], "sleep 600 was not done after 1 s and was told to end"),
    ],
    ids=["is not there", "hangs"],
)
def test_a_test_that_cannot_be_done_puts_the_files_back(
    site: Site, test: list[str], why: str
) -> None:
    site.back_up()
    site.damage()

    result = site.restore(validate=[test], timeout=1)

    assert why in result["msg"]
    assert "The files are as they were, and nothing was reloaded" in result["msg"]
    assert site.config.read_text() == "worker_processes 0;\n"
    assert site.reloads == 0


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        pytest.param("change", "is damaged", id="a byte differs"),
        pytest.param("cut", "no whole backup", id="a file is gone"),
        pytest.param("manifest", "cannot be read", id="manifest is garbage"),
    ],
)
def test_a_backup_that_is_not_what_was_kept_is_refused(site: Site, damage: str, words: str) -> None:
    made = site.back_up()["backup"]["id"]
    folder = site.folder / "backups" / made
    site.damage()
    if damage == "change":
        (folder / "0").write_text("worker_processes 5;\n")
    elif damage == "cut":
        (folder / "0").unlink()
    else:
        (folder / "manifest.json").write_text("{")

    result = site.restore(backup=made)

    assert result["failed"]
    assert words in result["msg"]
    assert "Nothing was changed" in result["msg"]
    assert site.config.read_text() == "worker_processes 0;\n"


def test_without_any_backup_the_refusal_says_so_and_makes_no_folder(site: Site) -> None:
    result = site.restore()

    assert result["failed"]
    assert "Nothing was changed" in result["msg"]
    assert not (site.folder / "backups").exists()


def test_backups_are_their_owners_alone_and_the_oldest_go(site: Site) -> None:
    for number in range(4):
        site.config.write_text(f"worker_processes {number + 1};\n")
        site.back_up(retention=2)

    kept = [path for path in (site.folder / "backups").iterdir() if path.is_dir()]
    assert len(kept) == 2
    for path in kept:
        assert stat.S_IMODE(path.stat().st_mode) == 0o700
        assert all(stat.S_IMODE(file.stat().st_mode) == 0o600 for file in path.iterdir())


def test_a_full_disk_leaves_the_files_as_they_were(site: Site) -> None:
    site.back_up()
    site.damage()
    limited = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (8, 8));"
        "import os; os.execv(sys.executable, [sys.executable, '-c', sys.argv[1], *sys.argv[2:]])"
    )
    from tests.module_runner import _AS_PROGRAM

    arguments = {**site.args(), "_ansible_check_mode": False, "_ansible_diff": False}
    done = subprocess.run(
        [sys.executable, "-c", limited, _AS_PROGRAM, "configuration_files"],
        input=json.dumps(arguments), capture_output=True, text=True, check=False,
    )  # fmt: skip

    assert done.returncode != 0
    assert "cannot be written" in done.stdout + done.stderr, done
    assert site.config.read_text() == "worker_processes 0;\n"
    assert site.reloads == 0


@pytest.mark.parametrize("name", ["../elsewhere", ".hidden"])
def test_a_name_that_would_leave_the_backups_is_refused(site: Site, name: str) -> None:
    site.back_up()
    site.damage()

    result = site.restore(keep_as=name)

    assert f"{name!r} is no backup. Nothing was changed" in result["msg"]
    assert site.config.read_text() == "worker_processes 0;\n"


def _spoil(site: Site, name: str, part: str) -> None:
    path = site.folder / "backups" / name / part
    assert path.exists()
    path.write_text("{")


@pytest.mark.parametrize("part", ["0", "manifest.json"])
def test_a_damaged_newest_backup_is_refused_by_name_and_an_older_one_taken_on_purpose(
    site: Site, part: str
) -> None:
    older = site.back_up()["backup"]["id"]
    site.config.write_text("worker_processes 8;\n")
    newer = site.back_up()["backup"]["id"]
    site.damage()
    _spoil(site, newer, part)

    refused = site.restore()
    chosen = site.restore(backup=older)

    assert f"backup {newer} " in refused["msg"]
    assert "name it with backup (configuration_backup" in refused["msg"]
    assert chosen["changed"], chosen
    assert site.config.read_text() == "worker_processes 4;\n"


@pytest.mark.parametrize("part", ["0", "manifest.json"])
def test_a_damaged_backup_that_an_incident_kept_is_in_nobodys_way(site: Site, part: str) -> None:
    made = site.back_up()["backup"]["id"]
    site.damage()
    site.restore(keep_as="incident-7")
    site.damage()
    _spoil(site, "incident-7", part)

    result = site.restore()

    assert result["changed"], result
    assert result["backup"]["id"] == made


def test_damaged_backups_of_restores_and_of_other_files_are_in_nobodys_way(site: Site) -> None:
    made = site.back_up()["backup"]["id"]
    site.damage()
    undo = site.restore()["undo"]["args"]["backup"]
    other = site.back_up(paths=[str(site.config)])["backup"]["id"]
    site.damage()
    for name in (undo, other):
        _spoil(site, name, "0")

    result = site.restore()

    assert result["changed"], result
    assert result["backup"]["id"] == made
