"""A database that restores exchange between two contents: it has to answer with one, wholly."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
import pytest

from tests.pg_restoring import Shop
from tests.real_servers import PostgresServer

NewShop = Callable[..., Shop]

CONTENT = "SELECT string_agg(DISTINCT v, ',') FROM (SELECT v FROM t UNION ALL SELECT v FROM u) x"


def fill(value: str) -> str:
    """Statements that make all the content ``value``."""
    return (
        "DROP TABLE IF EXISTS t, u;"
        f"CREATE TABLE t AS SELECT n AS id, '{value}' AS v FROM generate_series(1, 500) n;"
        "ALTER TABLE t ADD PRIMARY KEY (id);"
        f"CREATE TABLE u AS SELECT n AS id, '{value}' AS v FROM generate_series(1, 500) n;"
    )


@dataclass(frozen=True)
class Two:
    """A live database, and backups of its two contents by value."""

    shop: Shop
    backups: dict[str, Path]

    def arguments(self, value: str, restore_id: str, **options: Any) -> dict[str, Any]:
        return self.shop.args(
            backup=str(self.backups[value]),
            restore_id=restore_id,
            keep_predecessors=1,
            keep_staged=1,
            jobs=1,
            amcheck="none",
            **options,
        )

    def content(self, within: float = 10) -> str:
        """What the live name answers; it must answer, at once or after the swap that runs."""
        deadline = time.monotonic() + within
        while True:
            try:
                return str(self.shop.one(CONTENT))
            except psycopg.OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)


def two_on(server: PostgresServer, new_shop: NewShop, prefix: str = "attacked") -> Two:
    shop = new_shop(server, fill("old"), prefix=prefix)
    backups = {"old": shop.backup()}
    shop.write(fill("new"))
    backups["new"] = shop.backup()
    return Two(shop, backups)


@pytest.fixture
def two(new_shop: NewShop, either_server: PostgresServer) -> Two:
    return two_on(either_server, new_shop)
