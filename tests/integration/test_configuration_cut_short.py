"""configuration_files: restores that were cut short, and what the next one does."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.configuration_site import Site

pytestmark = pytest.mark.integration


def test_a_restore_that_was_killed_is_finished_by_the_next_one(site: Site) -> None:
    site.back_up()
    site.damage()
    site.restore_killed()

    result = site.restore()

    assert result["changed"], result
    assert site.reloads == 1
    undo = result["undo"]
    site.run("configuration_files", undo["args"])
    assert site.config.read_text() == "worker_processes 0;\n"


def test_undo_of_a_restore_is_known_before_it_and_an_attempt_more_does_not_lose_it(
    site: Site,
) -> None:
    site.back_up()
    site.damage()
    predicted = site.restore(check=True, keep_as="incident-7")["undo"]

    done = site.restore(keep_as="incident-7")["undo"]
    site.config.write_text("worker_processes 1;\n")
    again = site.restore(keep_as="incident-7")

    assert predicted == done == again["undo"]
    assert done["args"]["backup"] == "incident-7"
    site.run("configuration_files", done["args"])
    assert site.config.read_text() == "worker_processes 0;\n"


@pytest.mark.parametrize("killed", ["config", "key"])
def test_a_restore_that_was_killed_neither_hinders_one_of_other_files_nor_is_forgotten_by_it(
    site: Site, killed: str
) -> None:
    its = {"paths": [str(getattr(site, killed))]}
    others = {"paths": [str(site.key if killed == "config" else site.config)]}
    for each in (its, others):
        site.back_up(**each)
    site.damage()
    damaged = {path: Path(path).read_text() for path in its["paths"]}
    site.restore_killed(**its)

    foreseen = site.restore(check=True, **others)
    other = site.restore(**others)
    finished = site.restore(**its)

    assert foreseen["changed"], foreseen
    assert other["changed"], other
    assert not site.restore(**others)["changed"]
    assert finished["changed"], finished
    assert finished["differing"] == []
    assert (site.reloads, site.notes) == (2, 0)
    site.run("configuration_files", finished["undo"]["args"])
    assert {path: Path(path).read_text() for path in its["paths"]} == damaged


def test_a_restore_of_more_files_finishes_one_that_was_killed_and_undo_knows_all(
    site: Site,
) -> None:
    site.back_up()
    site.damage()
    site.restore_killed(paths=[str(site.config)])

    foreseen = site.restore(check=True, keep_as="incident-7")
    result = site.restore(keep_as="incident-7")

    assert result["changed"], result
    assert foreseen["undo"] == result["undo"]
    assert (site.reloads, site.notes) == (1, 0)
    site.run("configuration_files", result["undo"]["args"])
    assert site.config.read_text() == "worker_processes 0;\n"
    assert "somebody else" in site.key.read_text()


def test_a_restore_of_some_files_of_one_that_was_killed_is_refused_until_that_is_taken_back(
    site: Site,
) -> None:
    site.back_up()
    site.damage()
    site.restore_killed(keep_as="incident-7")
    some = {"paths": [str(site.config)]}

    for check in (True, False):
        refused = site.restore(check=check, **some)
        assert f"a restore of {site.config}, {site.key} was cut short" in refused["msg"]
        assert "restore backup incident-7 without naming files" in refused["msg"]
    taken_back = site.restore(backup="incident-7", paths=None)

    assert taken_back["changed"], taken_back
    assert site.config.read_text() == "worker_processes 0;\n"
    assert "somebody else" in site.key.read_text()
    assert site.notes == 0
    assert site.restore(**some)["changed"]


@pytest.mark.parametrize("known_to", ["0.1.0", "now"])
def test_a_restore_without_paths_finishes_that_of_its_own_files(site: Site, known_to: str) -> None:
    both = site.back_up()["backup"]["id"]
    other = site.folder / "other.conf"
    other.write_text("as it was\n")
    alone = site.back_up(paths=[str(other)])["backup"]["id"]
    site.damage()
    other.write_text("damaged\n")
    site.restore_killed(keep_as="incident-7")
    if known_to == "0.1.0":
        for note in (site.folder / "backups").glob(".unfinished*"):
            note.unlink()
        (site.folder / "backups" / ".unfinished.json").write_text('{"before": "incident-7"}')

    of_the_other = site.restore(backup=alone, paths=None)
    left = site.notes
    of_both = site.restore(backup=both, paths=None)

    assert of_the_other["changed"], of_the_other
    assert left == 1
    assert of_both["changed"], of_both
    assert of_both["undo"]["args"]["backup"] == "incident-7"
    assert site.notes == 0


def test_what_a_killed_restore_replaced_has_to_be_whole_before_anything_is_changed(
    site: Site,
) -> None:
    site.back_up()
    site.damage()
    site.restore_killed(keep_as="incident-7")
    (site.folder / "backups" / "incident-7" / "0").write_text("?")

    for check in (True, False):
        refused = site.restore(check=check)
        assert "backup incident-7 is damaged" in refused["msg"]
        assert "to restore without it" in refused["msg"]
    for note in (site.folder / "backups").glob(".unfinished*"):
        note.unlink()
    assert not site.restore()["changed"]


def test_a_new_backup_does_not_remove_what_a_killed_restore_is_finished_with(site: Site) -> None:
    site.back_up()
    site.damage()
    site.restore_killed()
    other = site.folder / "other.conf"
    others = {"paths": [str(other)]}
    other.write_text("good\n")
    site.back_up(**others)
    other.write_text("damaged\n")
    newer = site.restore(**others)["undo"]["args"]["backup"]

    site.config.write_text("worker_processes 8;\n")
    site.back_up(retention=1)
    result = site.restore()

    assert (site.folder / "backups" / newer).exists()
    assert result["changed"], result
    site.run("configuration_files", result["undo"]["args"])
    assert site.config.read_text() == "worker_processes 0;\n"
