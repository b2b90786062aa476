"""Indexes of a restored database against their tables, as PostgreSQL's amcheck sees them."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_progress import Progress
from ansible_collections.sre.rollback.plugins.module_utils._pg_prove import check_indexes
from tests.pg_restoring import Shop

pytestmark = pytest.mark.integration

# What the index was built with is not what its function answers now: no row is found by it.
_BROKEN = """
CREATE FUNCTION shown(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1';
CREATE INDEX "by Shown" ON t (shown(v));
CREATE OR REPLACE FUNCTION shown(text) RETURNS text IMMUTABLE LANGUAGE sql AS 'SELECT $1 || $1';
"""


def _check(shop: Shop, *, heapallindexed: bool) -> tuple[int, list[str]]:
    with shop.server.connect(shop.name) as one, shop.server.connect(shop.name) as two:
        return check_indexes([one, two], heapallindexed=heapallindexed, progress=Progress(None))


def test_index_that_lacks_rows_of_its_table_is_named_when_every_row_is_looked_up(
    shop: Shop,
) -> None:
    whole = _check(shop, heapallindexed=True)
    shop.write(_BROKEN)

    number, problems = _check(shop, heapallindexed=True)

    assert whole[1] == []
    assert number == whole[0] + 1
    assert len(problems) == 1
    assert 'index "by Shown" is damaged: heap tuple' in problems[0]


def test_looking_at_indexes_leaves_nothing_in_the_database(shop: Shop) -> None:
    _check(shop, heapallindexed=False)

    assert shop.one("SELECT count(*) FROM pg_extension WHERE extname = 'amcheck'") == 0
    assert shop.one("SELECT count(*) FROM pg_namespace WHERE nspname LIKE '%amcheck%'") == 0
