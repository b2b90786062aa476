"""What is true after release, database and cache were rolled back, and users' orders merged."""

import json
import os
from pathlib import Path
from urllib.request import urlopen

from testinfra import get_host

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "rollback-playbook" / "vm" / "drill-full"
testinfra_hosts = [f"ssh://db1?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/db1.ssh"]
LATE = ["ada", "grace", "margaret"]


def _sql(host, statement, database="shop"):
    with host.sudo("postgres"):
        return host.check_output(
            "psql --no-align --tuples-only --dbname=%s --command=%s", database, statement
        )


def _redis(host, *words):
    return host.check_output("redis-cli -a of-the-drill --no-auth-warning " + " ".join(words))


def _decision():
    """Of the incident that rolled back: the one after it had nothing to do."""
    record = min((FOLDER / "state").rglob("events.jsonl"))
    events = [json.loads(line) for line in record.read_text().splitlines()]
    return next(event["data"] for event in events if event["type"] == "decision.made")


def test_users_see_the_good_release_and_the_price_of_the_backup():
    with urlopen("http://127.0.0.1:10481/price", timeout=60) as answer:
        assert json.load(answer) == {"release": "1.0.0", "cents": 1200}


def test_work_tree_is_that_of_the_good_release():
    server = get_host(f"ssh://app1?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/app1.ssh")
    with server.sudo():
        assert server.check_output("git -C /srv/shop describe --tags --exact-match") == "1.0.0"
        assert server.check_output("git -C /srv/shop status --porcelain -uno") == ""
    assert server.service("shop").is_running


def test_the_schema_is_the_one_of_the_backup(host):
    columns = _sql(
        host, "SELECT column_name FROM information_schema.columns WHERE table_name = 'books'"
    )

    assert sorted(columns.split()) == ["cents", "id", "title"]


def test_orders_of_users_were_counted_before_anything_was_changed():
    at_risk = _decision()["data_at_risk"]

    assert "loses 3 orders written" in at_risk["summary"]
    assert at_risk["total"]["added"] == len(LATE)


def test_orders_of_users_were_kept_in_a_file(host):
    with host.sudo():
        kept = host.check_output(
            "find /var/lib/rollback-playbook/restore-points/salvage -name %s -exec cat {} +",
            "*orders*.csv",
        )

    assert all(customer in kept for customer in LATE)
    assert "early-" not in kept


def test_orders_of_users_are_merged_back_beside_those_of_the_backup(host):
    late = _sql(host, "SELECT customer FROM orders WHERE id BETWEEN 501 AND 503 ORDER BY id")

    assert late.split() == LATE
    assert _sql(host, "SELECT count(*) FROM orders WHERE customer LIKE 'early-%'") == "500"


def test_the_damaged_database_is_kept_beside_the_live_one(host):
    names = _sql(host, "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_\\_before\\_%'")

    assert _sql(host, "SELECT cents FROM books", names) == "0"


def test_an_order_placed_now_gets_a_number_of_its_own():
    with urlopen("http://127.0.0.1:10481/orders", data=b"radia", timeout=60) as answer:
        assert json.load(answer)["order"] > 503


def test_stale_pages_are_gone_and_sessions_are_kept(host):
    assert _redis(host, "get", "page:price") == "1200"
    assert {f"session:{customer}" for customer in LATE} <= set(_redis(host, "keys", "'*'").split())
