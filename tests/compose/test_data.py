"""Scenarios that bring data back, with the database of the project in a container of its own."""

from __future__ import annotations

from typing import Any

import pytest

from tests.compose.conftest import MakeEnvironment, MakeWholeShop
from tests.compose.environment import Environment
from tests.compose.whole_shop import WholeShop

pytestmark = pytest.mark.compose

#: The owner's migration to release 2.0.0: the column has another name, and totals get lost.
_MIGRATION = (
    "ALTER TABLE orders RENAME total TO amount",
    "UPDATE orders SET amount = 0 WHERE id % 3 = 0",
    "INSERT INTO schema_migrations VALUES (2)",
)


@pytest.fixture
def shop(make_whole_shop: MakeWholeShop) -> WholeShop:
    return make_whole_shop()


def operated(environment: MakeEnvironment, shop: WholeShop, **variables: Any) -> Environment:
    """The command line on it, and a backup of release 1.0.0, which is good."""
    made = environment(shop.stack, has=["database"], **{**shop.variables(), **variables})
    kept = made.run("backup", "--reason", "deployed", "--yes")
    assert kept.code == 0, kept.output
    return made


def test_full_brings_release_database_and_cache_back_together(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    operator = operated(environment, shop)
    others = shop.others()
    shop.get("/product/3")
    shop.sql(*_MIGRATION, "UPDATE products SET price = 1")
    shop.cache.set("product:3", "0")
    shop.cache.set("session:ada", "logged in")
    shop.stack.deploy(web="2.0.0")
    shop.wait_for(200, "/orders")
    shop.sql("INSERT INTO orders (customer, amount) VALUES ('ada', 77)")
    assert shop.get("/order/3")[1]["total"] == "0"
    assert shop.get("/product/3")[1]["price"] == "0"

    done = operator.run("full", "--reason", "totals are lost", "--yes")

    assert done.code == 0, done.output
    assert shop.get("/order/3") == (200, {"version": "1.0.0", "total": "15"})
    assert shop.get("/product/3")[1]["price"] == "30"
    assert shop.stack.images("web") == {"shop/till:1.0.0"}
    assert shop.cache.get("session:ada") == "logged in"
    assert shop.others() == others
    kept = [path.read_text() for path in operator.state.rglob("salvage/**/*") if path.is_file()]
    assert any("ada" in text for text in kept)

    again = operator.run("full", "--reason", "twice", "--yes")

    assert again.code == 3, again.output
    assert "Nothing to roll back" in again.output

    undone = operator.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert shop.get("/order/3") == (200, {"version": "2.0.0", "total": "0"})
    assert shop.others() == others


def test_data_corruption_brings_the_damaged_rows_back_and_no_others(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    operator = operated(environment, shop)
    containers = shop.stack.containers()
    shop.sql(
        "UPDATE orders SET total = 0 WHERE customer = 'c3'",
        "UPDATE orders SET total = 999 WHERE id = 4",
        "INSERT INTO orders (customer, total) VALUES ('ada', 77)",
    )
    assert shop.get("/order/3")[1]["total"] == "0"
    damaged = ("-e", "database_table=orders", "-e", "database_where=\"customer = 'c3'\"")

    done = operator.run("data-corruption", "--reason", "totals are lost", "--yes", *damaged)

    assert done.code == 0, done.output
    assert shop.get("/order/3")[1]["total"] == "15"
    # What users have changed elsewhere since.
    assert shop.get("/order/4")[1]["total"] == "999"
    assert shop.get("/orders")[1]["orders"] == 201
    assert shop.stack.containers() == containers

    again = operator.run("data-corruption", "--reason", "twice", "--yes", *damaged)

    assert again.code == 0, again.output
    assert shop.get("/order/3")[1]["total"] == "15"

    undone = operator.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert shop.get("/order/3")[1]["total"] == "0"
    assert shop.get("/order/4")[1]["total"] == "999"


def test_database_restore_leaves_the_release_and_data_merge_brings_new_orders_back(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    operator = operated(environment, shop)
    shop.get("/product/3")
    containers = shop.stack.containers()
    shop.sql(
        "UPDATE orders SET total = 1",
        "INSERT INTO orders (customer, total) VALUES ('ada', 77)",
    )
    shop.cache.set("product:3", "0")
    assert shop.get("/order/3")[1]["total"] == "1"
    assert shop.get("/order/201")[1]["total"] == "77"

    done = operator.run("database-restore", "--reason", "totals are lost", "--yes")

    assert done.code == 0, done.output
    assert shop.get("/order/3")[1]["total"] == "15"
    assert shop.get("/product/3")[1]["price"] == "30"
    assert shop.get("/order/201")[0] == 500
    assert shop.stack.containers() == containers

    merged = operator.run("data-merge", "--reason", "the new orders", "--yes")

    assert merged.code == 0, merged.output
    assert shop.get("/order/201")[1]["total"] == "77"
    assert shop.get("/order/3")[1]["total"] == "15"


def test_database_migration_takes_the_schema_down_to_what_the_running_release_knows(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    migrations = shop.stack.folder / "migrations"
    migrations.mkdir()
    (migrations / "2_amount.up.sql").write_text("ALTER TABLE orders RENAME total TO amount;")
    (migrations / "2_amount.down.sql").write_text("ALTER TABLE orders RENAME amount TO total;")
    operator = environment(
        shop.stack,
        has=["database"],
        **{
            **shop.variables(),
            "database_checks": [],
            "database_migration_directory": str(migrations),
        },
    )
    containers = shop.stack.containers()
    shop.sql(
        "ALTER TABLE orders RENAME total TO amount", "INSERT INTO schema_migrations VALUES (2)"
    )
    shop.wait_for(500, "/orders")
    down = ("-e", "database_migration_target=1")

    done = operator.run("database-migration", "--reason", "orders fail", "--yes", *down)

    assert done.code == 0, done.output
    assert shop.get("/orders")[0] == 200
    assert shop.stack.containers() == containers

    again = operator.run("database-migration", "--reason", "twice", "--yes", *down)

    assert again.code in (0, 3), again.output
    assert shop.get("/orders")[0] == 200
