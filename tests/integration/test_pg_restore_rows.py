"""pg_restore_verified scope=rows and scope=schema_only: a part of a backup, proved and undoable."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import ModuleResult
from tests.pg_restoring import Shop
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration

_SCHEMA = """
CREATE TYPE kind AS ENUM ('new', 'paid');
CREATE TABLE "Kunden" (id int PRIMARY KEY, name text);
CREATE TABLE "Auf""träge" ("Nö" int PRIMARY KEY, kunde int REFERENCES "Kunden", art kind,
  betrag numeric(10, 2), doc jsonb, brutto numeric GENERATED ALWAYS AS (betrag * 1.2) STORED);
CREATE TABLE zeilen (id serial PRIMARY KEY, auftrag int REFERENCES "Auf""träge" ON DELETE CASCADE);
CREATE TABLE protokoll (was text);
CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql AS
  $$BEGIN INSERT INTO protokoll VALUES (tg_op); RETURN coalesce(new, old); END$$;
INSERT INTO "Kunden" SELECT n, 'k' || n FROM generate_series(1, 5) n;
INSERT INTO "Auf""träge" SELECT n, 1 + n % 5, 'paid', n, '{"a": 1.0}'
  FROM generate_series(1, 100) n;
CREATE TRIGGER noted AFTER INSERT OR UPDATE OR DELETE ON "Auf""träge"
  FOR EACH ROW EXECUTE FUNCTION note();
"""
_TABLE = '"Auf""träge"'
_CONTENT = f"SELECT md5(string_agg(x::text, ';' ORDER BY \"Nö\")) FROM {_TABLE} x"


@pytest.fixture
def shop(new_shop: Callable[..., Shop], new_postgres_server: PostgresServer) -> Shop:
    return new_shop(new_postgres_server, _SCHEMA, prefix='Teil "a"')


def _damage(shop: Shop) -> None:
    """Customer 2's orders: one changed, one removed, one added; and one of another customer's."""
    shop.write(
        f'UPDATE {_TABLE} SET betrag = -1 WHERE "Nö" IN (1, 2);'
        f'DELETE FROM {_TABLE} WHERE "Nö" = 6;'
        f"INSERT INTO {_TABLE} VALUES (900, 2, 'new', 7); TRUNCATE protokoll"
    )


def _rows(shop: Shop, backup: Path, **options: Any) -> ModuleResult:
    wanted = {"table": _TABLE, "predicate": "kunde = 2", "restore_id": "r1", **options}
    return shop.restore(backup=str(backup), scope="rows", **wanted)


@pytest.fixture
def backup(shop: Shop) -> Path:
    folder = shop.backup()
    _damage(shop)
    return folder


def test_rows_are_brought_back_others_left_alone_and_what_was_there_is_kept(
    shop: Shop, backup: Path
) -> None:
    names = shop.names()
    oid = shop.one("SELECT oid FROM pg_database WHERE datname = current_database()")

    result = _rows(shop, backup)

    assert not result.get("failed"), result["msg"]
    told = result["rows"]
    assert (told["changed"], told["removed"], told["added"]) == (1, 1, 1)
    assert shop.one(f'SELECT array_agg("Nö" ORDER BY "Nö") FROM {_TABLE} WHERE kunde = 2') == [
        *range(1, 100, 5)
    ]
    assert shop.one(f'SELECT betrag FROM {_TABLE} WHERE "Nö" = 1') == 1
    assert shop.one(f'SELECT betrag FROM {_TABLE} WHERE "Nö" = 2') == -1
    kept = f'SELECT string_agg("Nö"::text, \',\' ORDER BY "Nö") FROM {told["kept"]}'
    assert shop.one(kept) == "1,6,900"
    assert shop.one("SELECT count(*) FROM protokoll") == 0
    assert shop.one("SELECT tgenabled::text FROM pg_trigger WHERE tgname = 'noted'") == "O"
    assert shop.names() == names
    assert shop.one("SELECT oid FROM pg_database WHERE datname = current_database()") == oid


def test_rows_of_one_id_are_restored_once_and_put_back_by_the_undo(
    shop: Shop, backup: Path
) -> None:
    damaged = shop.one(_CONTENT)
    first = _rows(shop, backup)
    again = _rows(shop, backup)
    restored = shop.one(_CONTENT)

    undo = {name: value for name, value in first["undo"]["args"].items() if name != "database"}
    back = shop.restored(**undo)

    assert first["changed"]
    assert not again["changed"]
    assert restored != damaged == shop.one(_CONTENT)
    assert back["changed"]
    assert not shop.restored(**undo)["changed"]
    assert _rows(shop, backup)["changed"]
    assert shop.one(_CONTENT) == restored


def test_rows_that_are_as_in_the_backup_change_nothing(shop: Shop, backup: Path) -> None:
    result = _rows(shop, backup, predicate="kunde = 4")

    assert not result["changed"]
    assert shop.one("SELECT count(*) FROM pg_class WHERE relname LIKE '%\\_\\_kept\\_%'") == 0


def test_rows_in_check_mode_are_counted_and_left(shop: Shop, backup: Path) -> None:
    before = shop.one(_CONTENT)

    foreseen = _rows(shop, backup, check=True)
    assert shop.one(_CONTENT) == before
    done = _rows(shop, backup)

    assert foreseen["changed"]
    assert foreseen["rows"] == done["rows"]


def test_undo_of_rows_refuses_when_somebody_wrote_to_them_since(shop: Shop, backup: Path) -> None:
    _rows(shop, backup)
    shop.write(f'UPDATE {_TABLE} SET betrag = 77 WHERE "Nö" = 6')

    result = shop.restore(state="previous", scope="rows", restore_id="r1")

    assert "were written to since they were restored: 6" in result["msg"]
    assert shop.one(f'SELECT betrag FROM {_TABLE} WHERE "Nö" = 6') == 77


def test_rows_that_others_belong_to_are_not_removed_with_them(shop: Shop, backup: Path) -> None:
    shop.write("INSERT INTO zeilen (auftrag) VALUES (900)")
    before = shop.one(_CONTENT)

    result = _rows(shop, backup)

    assert "1 rows of public.zeilen belong to rows" in result["msg"]
    assert shop.one(_CONTENT) == before


@pytest.mark.parametrize(
    ("predicate", "words"),
    [
        pytest.param('true); DELETE FROM "Kunden"; --', "not one expression", id="statements"),
        pytest.param("true) OR EXISTS (SELECT 1", "not one expression", id="unbalanced"),
        pytest.param("true), ADD CHECK (true", "not one expression", id="another clause"),
        pytest.param('kunde IN (SELECT id FROM "Kunden")', "subquery", id="other rows"),
        pytest.param("lookup(kunde)", "calls public.lookup(integer)", id="function that may read"),
        pytest.param("count(*) > 1", "aggregate", id="aggregate"),
        pytest.param("kunde", "boolean", id="no condition"),
        pytest.param("nowhere = 1", "does not exist", id="no column"),
        pytest.param("  ", "needs a table and a predicate", id="nothing"),
    ],
)
def test_rows_refuse_a_predicate_that_is_not_one_expression_about_a_row(
    shop: Shop, predicate: str, words: str
) -> None:
    shop.write(
        "CREATE FUNCTION lookup(int) RETURNS boolean STABLE LANGUAGE sql AS"
        " 'SELECT EXISTS (SELECT FROM \"Kunden\" WHERE id = $1)'"
    )
    folder = shop.backup()
    _damage(shop)
    before = shop.one(_CONTENT)

    result = _rows(shop, folder, predicate=predicate)

    assert result["failed"]
    assert words in result["msg"]
    assert "Nothing was changed" in result["msg"]
    assert shop.one(_CONTENT) == before
    assert shop.one('SELECT count(*) FROM "Kunden"') == 5
    assert shop.names() == {shop.name}


def test_predicate_may_hold_a_comment_quotes_and_percent_signs(shop: Shop, backup: Path) -> None:
    predicate = "kunde = 2 -- the second;\nAND doc::text LIKE '{\"a\"%' /* ) */"

    result = _rows(shop, backup, predicate=predicate)

    assert not result.get("failed"), result["msg"]
    assert result["rows"]["changed"] == 1


@pytest.mark.parametrize(
    ("change", "options", "words"),
    [
        pytest.param("", {"table": "nowhere"}, "there is no table nowhere", id="no table"),
        pytest.param(
            "", {"table": "protokoll", "predicate": "true"}, "no primary key", id="no key"
        ),
        pytest.param(
            'ALTER TABLE "Auf""träge" ADD neu int', {}, "columns of public", id="other columns"
        ),
        pytest.param("", {"state": "staged"}, "rows have no state staged", id="staged"),
        pytest.param("", {"database": "nowhere"}, "there is no database 'nowhere'", id="no db"),
    ],
)
def test_rows_refuse_in_words(
    shop: Shop, backup: Path, change: str, options: dict[str, str], words: str
) -> None:
    if change:
        shop.write(change)

    result = _rows(shop, backup, **options)

    assert result["failed"]
    assert words in result["msg"]
    assert "Nothing was changed" in result["msg"]


def test_rows_of_a_partitioned_table_come_from_its_partitions(
    new_shop: Callable[..., Shop], either_server: PostgresServer
) -> None:
    shop = new_shop(
        either_server,
        "CREATE TYPE kind AS ENUM ('a', 'b', 'c');"
        "CREATE TABLE t (id int, k kind, v text, PRIMARY KEY (id, k)) PARTITION BY LIST (k);"
        "CREATE TABLE ta PARTITION OF t FOR VALUES IN ('a');"
        "CREATE TABLE tb PARTITION OF t FOR VALUES IN ('b', 'c');"
        "CREATE TABLE other AS SELECT 1 AS v;"
        "INSERT INTO t SELECT n, (enum_range(NULL::kind))[1 + n % 3], 'v' || n"
        " FROM generate_series(1, 30) n",
    )
    folder = shop.backup()
    shop.write("UPDATE t SET v = 'damaged'")

    result = _rows(shop, folder, table="t", predicate="id <= 10")

    assert not result.get("failed"), result["msg"]
    assert result["rows"]["changed"] == 10
    assert shop.one("SELECT count(*) FROM t WHERE v = 'damaged'") == 20


def test_rows_that_are_not_those_of_the_manifest_are_never_brought_live(
    shop: Shop, backup: Path
) -> None:
    from dataclasses import replace

    from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
        manifest_text,
        read_manifest,
    )

    told = read_manifest(backup)
    label = next(name for name in told.tables if "träge" in name)
    tables = {**told.tables, label: {**told.tables[label], "digest": "1" * 64}}
    (backup / "manifest.json").write_text(manifest_text(replace(told, tables=tables)))
    before = shop.one(_CONTENT)

    result = _rows(shop, backup)

    assert "that are not those of backup" in result["msg"]
    assert shop.one(_CONTENT) == before
    assert shop.names() == {shop.name}


# --- definitions alone ---------------------------------------------------------------------------


def test_schema_alone_is_proved_swapped_in_and_back(
    new_shop: Callable[..., Shop], either_server: PostgresServer
) -> None:
    shop = new_shop(either_server)
    folder = shop.backup()
    shop.write("DROP VIEW totals; DROP TABLE nothing")

    result = shop.restored(backup=str(folder), restore_id="r1", scope="schema_only")

    assert shop.one("SELECT count(*) FROM orders") == 0
    assert shop.one("SELECT to_regclass('totals') IS NOT NULL")
    assert {one["rows"] for one in result["tables"].values()} == {0}
    refused = shop.restore(backup=str(folder), restore_id="r1")
    assert "another scope" in refused["msg"]
    shop.restored(restore_id="r1", state="previous")
    assert shop.one("SELECT count(*) FROM orders") == 500


def test_schema_alone_is_staged_beside_the_whole_backup(shop: Shop) -> None:
    folder = shop.backup()
    whole = shop.restored(backup=str(folder), state="staged")["staged"]

    alone = shop.restored(backup=str(folder), state="staged", scope="schema_only")["staged"]

    assert alone != whole
    assert shop.names() == {shop.name, whole, alone}
