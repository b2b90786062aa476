"""Whether damaged data are seen as damaged, on a real server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.module_runner import RunModule
from tests.real_servers import PostgresServer

pytestmark = pytest.mark.integration


@pytest.fixture
def login(postgres_server: PostgresServer) -> Iterator[dict[str, Any]]:
    """A database with one good and one orphaned line."""
    with postgres_server.connect() as connection:
        connection.execute("CREATE DATABASE integrity")
    with postgres_server.connect("integrity") as connection:
        connection.execute("CREATE TABLE orders (id int PRIMARY KEY, total numeric)")
        connection.execute("CREATE TABLE lines (order_id int)")
        connection.execute("INSERT INTO orders VALUES (1, 9.50)")
        connection.execute("INSERT INTO lines VALUES (1), (2)")
    yield {**postgres_server.login, "database": "integrity"}
    with postgres_server.connect() as connection:
        connection.execute("DROP DATABASE integrity")


_ORPHANS = "SELECT count(*) FROM lines WHERE order_id NOT IN (SELECT id FROM orders)"


def _check(query: str, expected: Any, name: str = "it holds") -> dict[str, Any]:
    return {"name": name, "query": query, "expected": expected}


def _run(run_module: RunModule, login: dict[str, Any], *checks: dict[str, Any]) -> dict[str, Any]:
    return run_module("pg_integrity", {**login, "checks": list(checks)})


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param("SELECT count(*) FROM orders", "1", id="a number given as text"),
        pytest.param("SELECT total FROM orders", 9.5, id="a numeric"),
        pytest.param("SELECT true", "True", id="a boolean given as text"),
        pytest.param("SELECT to_regclass('orders')", "orders", id="a name"),
    ],
)
def test_integrity_passes_when_the_answer_is_the_expected_one(
    run_module: RunModule, login: dict[str, Any], query: str, expected: Any
) -> None:
    assert _run(run_module, login, _check(query, expected))["outcome"] == "passed"


def test_integrity_names_the_check_that_damaged_data_fail(
    run_module: RunModule, login: dict[str, Any]
) -> None:
    result = _run(run_module, login, _check("SELECT 1", 1, "one"), _check(_ORPHANS, 0, "orphans"))

    assert (result["outcome"], result["failed_checks"]) == ("failed", ["orphans"])
    assert result["checks"][1]["problem"] == "expected 0, found 1"
    assert "failed" not in result


@pytest.mark.parametrize(
    ("query", "problem"),
    [
        pytest.param("SELECT 1 FROM nowhere", "does not exist", id="an error"),
        pytest.param("SELECT 1 WHERE false", "answered nothing", id="no row"),
        pytest.param("SELECT NULL", "answered nothing", id="NULL"),
        pytest.param("SELECT 1, 2", "one column", id="two columns"),
        pytest.param("DELETE FROM orders RETURNING 1", "read-only", id="a query that writes"),
    ],
)
def test_integrity_is_inconclusive_when_a_query_cannot_be_judged(
    run_module: RunModule, login: dict[str, Any], query: str, problem: str
) -> None:
    result = _run(run_module, login, _check(query, 1), _check("SELECT 1", 1, "another"))

    assert result["outcome"] == "inconclusive"
    assert problem in result["checks"][0]["problem"]
    assert result["checks"][1]["outcome"] == "passed"


def test_integrity_without_checks_proves_nothing(
    run_module: RunModule, login: dict[str, Any]
) -> None:
    assert _run(run_module, login)["outcome"] == "inconclusive"


def test_integrity_refuses_two_checks_of_one_name(
    run_module: RunModule, login: dict[str, Any]
) -> None:
    result = _run(run_module, login, _check("SELECT 1", 1), _check("SELECT 2", 2))

    assert "two checks are named 'it holds'" in result["msg"]


def test_integrity_fails_when_the_server_is_not_there(
    run_module: RunModule, login: dict[str, Any]
) -> None:
    result = _run(run_module, {**login, "login_port": 1}, _check("SELECT 1", 1))

    assert result["failed"]
    assert "cannot connect" in result["msg"]
    assert login["login_password"] not in str(result)
