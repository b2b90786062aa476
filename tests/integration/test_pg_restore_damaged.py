"""Backups that are cut, flipped, swapped or doctored: found before the live database is touched."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    read_manifest,
)
from tests.pg_restoring import Shop, doctored

pytestmark = pytest.mark.integration


def _all_files(backup: Path) -> list[Path]:
    return sorted(path for path in backup.rglob("*") if path.is_file())


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_restore_finds_a_flipped_bit_wherever_it_is(shop: Shop, form: str) -> None:
    backup = shop.backup(format=form)
    names = shop.names()
    chance = random.Random(20261122)  # noqa: S311
    for path in _all_files(backup):
        whole = path.read_bytes()
        for _ in range(3):
            at = chance.randrange(len(whole))
            flipped = bytearray(whole)
            flipped[at] ^= 1 << chance.randrange(8)
            path.write_bytes(flipped)
            for check in (True, False):
                result = shop.restore(backup=str(backup), restore_id="r1", check=check)
                assert result.get("failed"), (path, at)
                assert "Nothing was changed" in result["msg"]
        path.write_bytes(whole)
    assert shop.names() == names
    shop.restored(backup=str(backup), restore_id="r1", check=True)


@pytest.mark.parametrize("form", ["directory", "custom"])
def test_restore_finds_a_file_that_was_cut_or_lost(shop: Shop, form: str) -> None:
    backup = shop.backup(format=form)
    chance = random.Random(7)  # noqa: S311
    for path in _all_files(backup):
        whole = path.read_bytes()
        for length in {0, 1, len(whole) - 1, chance.randrange(len(whole))}:
            path.write_bytes(whole[:length])
            assert shop.restore(backup=str(backup), restore_id="r1").get("failed"), (path, length)
        path.unlink()
        assert shop.restore(backup=str(backup), restore_id="r1").get("failed"), path
        path.write_bytes(whole)
    assert shop.names() == {shop.name}


def test_restore_finds_swapped_manifests(shop: Shop) -> None:
    first = shop.backup()
    shop.write("INSERT INTO t (v) VALUES ('d')")
    second = shop.backup()
    texts = [(one / "manifest.json").read_text() for one in (first, second)]
    for one, text in zip((first, second), reversed(texts), strict=True):
        (one / "manifest.json").write_text(text)

    for one in (first, second):
        result = shop.restore(backup=str(one), restore_id="r1")
        assert "manifest belongs to another dump" in result["msg"]
    assert shop.names() == {shop.name}


def test_restore_finds_a_file_that_the_manifest_does_not_know(shop: Shop) -> None:
    backup = shop.backup()
    (backup / "dump" / "9999.dat").write_text("1\n")

    assert "not in the manifest" in shop.restore(backup=str(backup))["msg"]


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        pytest.param("INSERT INTO t (v) VALUES ('d')", "has 4 rows instead of 3", id="added"),
        pytest.param("DELETE FROM t WHERE id = 2", "has 2 rows instead of 3", id="removed"),
        pytest.param("UPDATE t SET v = 'B' WHERE id = 2", "but others", id="changed"),
        pytest.param("CREATE TABLE u ()", "not in the backup's manifest", id="a table more"),
        pytest.param("SELECT nextval('t_id_seq')", "sequence public.t_id_seq is at 4", id="drawn"),
        pytest.param("GRANT SELECT ON t TO app", "has grants", id="granted"),
        pytest.param("ALTER TABLE t OWNER TO app", "belongs to app", id="owner"),
        pytest.param("CREATE INDEX i ON t (v)", "index public.i is not in the", id="an index more"),
        pytest.param("ALTER TABLE t DROP CONSTRAINT t_pkey", "t_pkey is missing", id="no key"),
        pytest.param(
            "ALTER TABLE t ALTER v SET DEFAULT 'x'", "is defined otherwise", id="another default"
        ),
        pytest.param(
            "SELECT lo_create(1)", "large objects has 1 rows instead of 0", id="an object"
        ),
    ],
)
def test_restore_finds_what_a_dump_has_behind_its_manifests_back(
    shop: Shop, statement: str, words: str
) -> None:
    told = read_manifest(shop.backup())
    shop.write(statement)
    backup = shop.backup()
    doctored(
        backup,
        tables=told.tables,
        sequences=told.sequences,
        objects=told.objects,
        large_objects=told.large_objects,
    )
    live = shop.one("SELECT oid FROM pg_database WHERE datname = current_database()")

    result = shop.restore(backup=str(backup), restore_id="r1")

    assert words in result["msg"]
    assert "The live database was not touched" in result["msg"]
    assert shop.names() == {shop.name}
    assert shop.one("SELECT oid FROM pg_database WHERE datname = current_database()") == live
