"""A database with something of everything, its backups, and servers of two major versions."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from psycopg import sql

from ansible_collections.sre.rollback.plugins.module_utils._pg_dump_files import verify_files
from ansible_collections.sre.rollback.plugins.module_utils._pg_manifest import (
    Manifest,
    manifest_text,
    read_manifest,
)
from rollback_playbook.lab.postgresql import Cluster, server_account
from tests.module_runner import ModuleResult, RunModule
from tests.real_servers import PostgresServer, free_port, stop

_DEBIAN = Path("/usr/lib/postgresql/15/bin")
_NUMBERS = itertools.count(1)

RESTORE_ID = "2026-11-22T04-40-12Z-full-lab-3f2a"
HAS_ROWS = [{"name": "there are rows", "query": "SELECT count(*) > 0 FROM t", "expected": True}]

# A name that breaks every script which builds SQL or shell commands out of it.
AWKWARD = 'Laden "a"\'b ü$x;--'

SCHEMA = r'''
CREATE EXTENSION hstore;
CREATE TYPE mood AS ENUM ('sad', 'Happy');
CREATE DOMAIN positive AS integer CHECK (VALUE > 0);
CREATE TYPE pair AS (a integer, b mood);
CREATE COLLATION "Köln" (locale = 'C');
CREATE TABLE customers (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  email text NOT NULL UNIQUE, mood mood, moods mood[], size positive, pair pair, tags hstore);
CREATE TABLE orders (
  id serial PRIMARY KEY, customer_id integer NOT NULL REFERENCES customers,
  total numeric(10, 2) NOT NULL CHECK (total >= 0),
  with_tax numeric GENERATED ALWAYS AS (total * 1.2) STORED,
  note text COLLATE "Köln" DEFAULT 'x', at timestamptz DEFAULT '2026-01-01T00:00Z');
CREATE INDEX orders_at ON orders (at DESC) WHERE total > 1;
ALTER TABLE orders ADD CONSTRAINT late CHECK (total < 100000) NOT VALID;
CREATE TABLE "Ord""er's" ("Line Nö" integer PRIMARY KEY, doc jsonb, raw bytea, f float8, i interval,
  r regclass, span tstzrange, p point, a numeric[], u uuid);
CREATE TABLE nothing ();
CREATE TABLE events (day date, what text) PARTITION BY RANGE (day);
CREATE TABLE events_1 PARTITION OF events FOR VALUES FROM ('2026-01-01') TO ('2026-02-01');
CREATE TABLE events_2 PARTITION OF events FOR VALUES FROM ('2026-02-01') TO ('2026-03-01');
CREATE TABLE parent (a integer);
CREATE TABLE child (b text) INHERITS (parent);
CREATE UNLOGGED TABLE quick (a integer);
CREATE SCHEMA "Ünder";
CREATE SEQUENCE "Ünder"."Nö" INCREMENT -3 START -1;
CREATE VIEW totals WITH (security_barrier) AS SELECT customer_id, sum(total) FROM orders GROUP BY 1;
CREATE MATERIALIZED VIEW report AS SELECT count(*) FROM orders;
CREATE FUNCTION touch() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN new; END';
CREATE TRIGGER touched BEFORE UPDATE ON orders FOR EACH ROW EXECUTE FUNCTION touch();
ALTER TABLE orders DISABLE TRIGGER touched;
CREATE RULE keep AS ON DELETE TO nothing DO INSTEAD NOTHING;
CREATE PROCEDURE proc() LANGUAGE sql AS 'SELECT 1';
CREATE AGGREGATE total(integer) (sfunc = int4pl, stype = integer);
CREATE STATISTICS st ON customer_id, total FROM orders;
CREATE POLICY own ON customers TO app USING (id > 0);
ALTER TABLE customers ENABLE ROW LEVEL SECURITY;
ALTER DEFAULT PRIVILEGES IN SCHEMA public GRANT SELECT ON TABLES TO app;
GRANT SELECT (email) ON customers TO app;
GRANT INSERT ON orders TO "Röle ""x""" WITH GRANT OPTION;
ALTER TABLE orders OWNER TO app;
'''

ROWS = r"""
INSERT INTO customers (email, mood, moods, size, pair, tags)
  SELECT 'c' || n || '@example.com', 'Happy', '{sad,Happy}', n, ('(' || n || ',sad)')::pair, 'a=>1'
  FROM generate_series(1, 50) n;
INSERT INTO orders (customer_id, total) SELECT 1 + n % 50, n FROM generate_series(1, 500) n;
INSERT INTO "Ord""er's" SELECT n, '{"a": 1.0}', '\x00ff', CASE n WHEN 1 THEN 'NaN' ELSE 0.1 END,
  '1 mon 3 days', 'orders', '[2026-01-01,)', '(1,2)', '{1.10,NULL}',
  '00000000-0000-0000-0000-000000000001' FROM generate_series(1, 20) n;
INSERT INTO nothing DEFAULT VALUES;
INSERT INTO events SELECT '2026-01-01'::date + n, 'é' || n FROM generate_series(0, 57) n;
INSERT INTO parent VALUES (1), (1);
INSERT INTO child VALUES (2, 'x');
INSERT INTO quick VALUES (3);
SELECT nextval('"Ünder"."Nö"'), nextval('"Ünder"."Nö"');
SELECT lo_from_bytea(7777, '\x0001'), lo_from_bytea(0, 'large');
REFRESH MATERIALIZED VIEW report;
"""


@dataclass(frozen=True)
class Shop:
    """A live database on a server, the folder of its backups, and the modules run on it."""

    server: PostgresServer
    name: str
    dest: Path
    run_module: RunModule

    def args(self, **options: Any) -> dict[str, Any]:
        return {**self.server.login, "database": self.name, **options}

    def backup(self, **options: Any) -> Path:
        """Make a backup; its folder."""
        result = self.run_module("pg_backup_verified", self.args(dest=str(self.dest), **options))
        assert not result.get("failed"), result["msg"]
        return Path(result["backup"]["path"])

    def restore(self, *, check: bool = False, diff: bool = False, **options: Any) -> ModuleResult:
        """Run pg_restore_verified; its result, failed or not."""
        return self.run_module("pg_restore_verified", self.args(**options), check=check, diff=diff)

    def restored(self, **options: Any) -> ModuleResult:
        """Run pg_restore_verified, which must not fail."""
        result = self.restore(**options)
        assert not result.get("failed"), result["msg"]
        return result

    def write(self, statements: str, database: str | None = None) -> None:
        with self.server.connect(database or self.name) as connection:
            connection.execute(statements)

    def one(self, query: str, database: str | None = None) -> Any:
        """The one value that a query answers."""
        with self.server.connect(database or self.name) as connection:
            row = connection.execute(query).fetchone()
        assert row is not None
        return row[0]

    def names(self) -> set[str]:
        """The databases of the server that have to do with this one."""
        with self.server.connect() as connection:
            rows = connection.execute(
                "SELECT datname FROM pg_database WHERE starts_with(datname, %s)", [self.name[:20]]
            )
            return {name for (name,) in rows}

    def drop(self) -> None:
        with self.server.connect() as connection:
            for gid, database in connection.execute(
                "SELECT gid, database FROM pg_prepared_xacts"
            ).fetchall():
                if database == self.name:
                    with self.server.connect(self.name) as inside:
                        inside.execute(sql.SQL("ROLLBACK PREPARED {}").format(sql.Literal(gid)))
            for name in self.names():
                connection.execute(
                    sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name))
                )


def damage(shop: Shop) -> None:
    """What the backup of a fixture's ``shop`` undoes."""
    shop.write("DELETE FROM t WHERE id = 1; UPDATE t SET v = 'damaged'")


def content_of(shop: Shop, database: str | None = None) -> str:
    """The values of the fixture's table, ``a,b,c`` when it is whole."""
    value: str = shop.one("SELECT string_agg(v, ',' ORDER BY id) FROM t", database)
    return value


def doctored(backup: Path, **changes: Any) -> None:
    """Write another manifest, whose own checksum is right."""
    manifest = read_manifest(backup)
    changed = Manifest(
        **{**{name: getattr(manifest, name) for name in Manifest.__dataclass_fields__}, **changes}
    )
    (backup / "manifest.json").write_text(manifest_text(changed))
    verify_files(backup, changed)


def manifest_of(backup: Path) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((backup / "manifest.json").read_text())
    return document


def debian_postgres(folder: Path, name: str) -> PostgresServer:
    """An initialised cluster of Debian's PostgreSQL 15 below ``folder``, not yet started."""
    if not (_DEBIAN / "postgres").exists():
        pytest.skip(f"there is no PostgreSQL 15 in {_DEBIAN}")
    cluster = Cluster(
        bin_dir=_DEBIAN,
        data_dir=folder / name,
        port=free_port(),
        account=server_account(),
    )
    cluster.initialise("p w'15")
    return PostgresServer(cluster, "p w'15")


@pytest.fixture(scope="session")
def old_postgres_server(world_readable_tmp: Path) -> Iterator[PostgresServer]:
    """PostgreSQL 15 of Debian, once for the whole session."""
    server = debian_postgres(world_readable_tmp, "data-15")
    process = server.start(fsync="off", max_connections=200, max_prepared_transactions=5)
    yield server
    stop(process)


@pytest.fixture(scope="session")
def new_postgres_server(world_readable_tmp: Path) -> Iterator[PostgresServer]:
    """PostgreSQL 18 that knows prepared transactions and logical replication slots."""
    from tests.real_servers import new_postgres

    server = new_postgres(world_readable_tmp, "data-18-restoring")
    process = server.start(
        fsync="off", max_connections=200, max_prepared_transactions=5, wal_level="logical"
    )
    yield server
    stop(process)


def make_roles(server: PostgresServer) -> None:
    with server.connect() as connection:
        for role in ("app", 'Röle "x"'):
            there = connection.execute("SELECT FROM pg_roles WHERE rolname = %s", [role])
            if there.fetchone() is None:
                connection.execute(sql.SQL("CREATE ROLE {}").format(sql.Identifier(role)))


@pytest.fixture
def new_shop(
    run_module: RunModule, tmp_path: Path
) -> Iterator[Callable[[PostgresServer, str], Shop]]:
    """``new_shop(server, statements)`` is a database of a new name, gone after the test."""
    made: list[Shop] = []

    def new(server: PostgresServer, statements: str = SCHEMA + ROWS, prefix: str = "shop") -> Shop:
        make_roles(server)
        shop = Shop(server, f"{prefix} {next(_NUMBERS)}", tmp_path / "backups", run_module)
        with server.connect() as connection:
            connection.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(shop.name)))
        made.append(shop)
        shop.write(statements)
        return shop

    yield new
    for shop in made:
        shop.drop()


@pytest.fixture(params=[18, 15], ids=["PostgreSQL 18", "PostgreSQL 15"])
def either_server(request: pytest.FixtureRequest) -> PostgresServer:
    """A server of each major version that is here."""
    name = {18: "new_postgres_server", 15: "old_postgres_server"}[request.param]
    server: PostgresServer = request.getfixturevalue(name)
    return server


@pytest.fixture
def shop(
    new_shop: Callable[[PostgresServer, str], Shop], new_postgres_server: PostgresServer
) -> Shop:
    """A small database on PostgreSQL 18: one table of three rows and its sequence."""
    return new_shop(
        new_postgres_server,
        "CREATE TABLE t (id serial PRIMARY KEY, v text);"
        "INSERT INTO t (v) VALUES ('a'), ('b'), ('c')",
    )
