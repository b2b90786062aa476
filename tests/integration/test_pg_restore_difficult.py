"""Good databases that are awkward to dump, hash and restore: none of them is refused."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import read_manifest
from tests.pg_restoring import Shop
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration

NewShop = Callable[..., Shop]


def _brought_back(shop: Shop, statement: str, query: str) -> None:
    """Back up, damage, restore: the query answers as before."""
    wanted = shop.one(query)
    backup = shop.backup()
    shop.write(statement)

    shop.restored(backup=str(backup), restore_id="r1")

    assert shop.one(query) == wanted


def test_unfinished_index_is_not_restored_and_does_not_matter(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    shop = new_shop(
        either_server, "CREATE TABLE t (v int); INSERT INTO t VALUES (1), (1), (2)", prefix="index"
    )
    with shop.server.connect(shop.name) as connection, pytest.raises(Exception, match="duplicate"):
        connection.execute("CREATE UNIQUE INDEX CONCURRENTLY broken ON t (v)")
    assert shop.one("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 1

    _brought_back(shop, "DELETE FROM t", "SELECT count(*) FROM t")

    assert shop.one("SELECT count(*) FROM pg_index WHERE NOT indisvalid") == 0


def test_schema_public_that_was_dropped_stays_away(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    shop = new_shop(
        either_server,
        "DROP SCHEMA public; CREATE SCHEMA shop; CREATE TABLE shop.t AS SELECT 1 AS v",
        prefix="public",
    )

    _brought_back(shop, "DELETE FROM shop.t", "SELECT sum(v) FROM shop.t")

    assert shop.one("SELECT count(*) FROM pg_namespace WHERE nspname = 'public'") == 0


def test_rows_whose_partition_depends_on_numbers_of_the_database_are_counted_together(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    """An enum's hash is that of an OID, so a restore puts the rows into other partitions."""
    shop = new_shop(
        either_server,
        "CREATE TYPE e AS ENUM ('a', 'b', 'c', 'd', 'e', 'f', 'g', 'h');"
        "CREATE TABLE t (id int, kind e, note text) PARTITION BY HASH (kind);"
        "CREATE TABLE t0 PARTITION OF t FOR VALUES WITH (MODULUS 2, REMAINDER 0);"
        # The columns of one partition stand in another order.
        "CREATE TABLE t1 (note text, gone int, kind e, id int); ALTER TABLE t1 DROP gone;"
        "ALTER TABLE t ATTACH PARTITION t1 FOR VALUES WITH (MODULUS 2, REMAINDER 1);"
        "INSERT INTO t SELECT n, (enum_range(NULL::e))[1 + n % 8], 'n' || n"
        " FROM generate_series(1, 400) n",
        prefix="partitions",
    )

    _brought_back(
        shop, "DELETE FROM t", "SELECT concat_ws(' ', count(*), sum(id), min(note)) FROM t"
    )

    manifest = read_manifest(next(shop.dest.iterdir()))
    assert {name: one["rows"] for name, one in manifest.tables.items()} == {"public.t": 400}


def test_event_triggers_come_back_and_do_not_run_meanwhile(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    shop = new_shop(
        either_server,
        "CREATE TABLE log (what text); CREATE TABLE t (v int PRIMARY KEY);"
        "CREATE MATERIALIZED VIEW m AS SELECT count(*) FROM t;"
        "CREATE FUNCTION note() RETURNS event_trigger LANGUAGE plpgsql AS"
        " $$BEGIN INSERT INTO public.log VALUES (tg_tag); END$$;"
        "CREATE EVENT TRIGGER started ON ddl_command_start EXECUTE FUNCTION note();"
        "CREATE EVENT TRIGGER ended ON ddl_command_end EXECUTE FUNCTION note();"
        "CREATE EVENT TRIGGER dropped ON sql_drop EXECUTE FUNCTION note();",
        prefix="triggers",
    )
    if shop.one("SELECT current_setting('server_version_num')::int >= 170000"):
        shop.write(
            "CREATE EVENT TRIGGER came ON login EXECUTE FUNCTION note();"
            "ALTER EVENT TRIGGER came ENABLE ALWAYS; ALTER EVENT TRIGGER ended ENABLE ALWAYS"
        )
    backup = shop.backup()
    backed_up = read_manifest(backup).tables["public.log"]["rows"]
    shop.restored(backup=str(backup), restore_id="r1", state="staged")

    shop.restored(backup=str(backup), restore_id="r1")

    came = shop.one("SELECT count(*) FROM pg_event_trigger WHERE evtevent = 'login'")
    assert shop.one("SELECT count(*) FROM log") == backed_up + 2 * came
    assert shop.one("SELECT count(*) FROM pg_event_trigger") == 3 + came


def test_template_stays_a_template_and_its_predecessor_can_be_dropped(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    shop = new_shop(either_server, "CREATE TABLE t (v int)", prefix="template")
    backup = shop.backup()
    query = "SELECT datistemplate FROM pg_database WHERE datname = current_database()"
    with shop.server.connect() as connection:
        connection.execute(f'ALTER DATABASE "{shop.name}" IS_TEMPLATE true')
    try:
        first = shop.restored(backup=str(backup), restore_id="r1", keep_predecessors=1)
        second = shop.restored(backup=str(backup), restore_id="r2", keep_predecessors=1)

        assert shop.one(query)
        assert second["removed"] == [first["predecessor"]]
    finally:
        with shop.server.connect() as connection:
            for name in shop.names():
                connection.execute(f'ALTER DATABASE "{name}" IS_TEMPLATE false')


def test_large_object_of_several_pieces_is_proved_to_its_end(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    """Each is read in pieces of 16 MiB."""
    shop = new_shop(
        either_server,
        "SELECT lo_from_bytea(7, 'a'), lo_from_bytea(8, ''), lo_from_bytea(9, 'b');"
        "SELECT lo_put(7, 20000000, 'the end')",
        prefix="large",
    )
    first, second = (read_manifest(shop.backup()).large_objects for _ in range(2))
    shop.write("SELECT lo_put(7, 20000003, '!')")
    changed = read_manifest(shop.backup()).large_objects

    assert first == second
    assert first["rows"] == changed["rows"] == 3
    assert first["digest"] != changed["digest"]
    _brought_back(shop, "SELECT lo_unlink(7)", "SELECT encode(lo_get(7, 19999990, 100), 'hex')")


@pytest.mark.attack
def test_values_of_600_mb_and_large_objects_of_1_gb_are_backed_up_and_brought_back(
    new_shop: NewShop, either_server: PostgresServer
) -> None:
    shop = new_shop(
        either_server,
        "CREATE TABLE t (id int, v text, w text);"
        "INSERT INTO t SELECT 1, repeat('0123456789', 60000000), repeat('x', 300000000);"
        "SELECT lo_from_bytea(7, 'a'); SELECT lo_put(7, 1100000000, 'the end')",
        prefix="huge",
    )

    _brought_back(
        shop,
        "UPDATE t SET v = 'damaged'; SELECT lo_unlink(7)",
        "SELECT concat_ws(' ', (SELECT length(v) + length(w) FROM t),"
        " encode(lo_get(7, 1100000000, 100), 'escape'))",
    )
