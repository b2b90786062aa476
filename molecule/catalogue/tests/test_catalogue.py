"""What is true on the machine after every scenario of the catalogue has mended something on it."""

import json
import os
from getpass import getuser
from pathlib import Path
from urllib.request import urlopen

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "rollback-playbook" / "vm" / "drill-catalogue"
testinfra_hosts = [f"ssh://shop1?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/shop1.ssh"]


def _sql(host, statement):
    with host.sudo("postgres"):
        return host.check_output("psql -At --dbname=shop --command=%s", statement)


def _evidence(scenario):
    """Folder of what was kept in the incident of this scenario."""
    (record,) = FOLDER.glob(f"state/incidents/*-{scenario}-*")
    return f"/var/lib/rollback-playbook/restore-points/{record.name}/evidence"


def test_users_see_the_good_release_and_the_right_price():
    with urlopen("http://127.0.0.1:10581/price", timeout=60) as answer:
        assert json.load(answer) == {"release": "1.0.0", "cents": 1200}


def test_every_unit_runs(host):
    units = ["shop", "live", "nginx", "redis-server", "postgresql", "postgresql@15-main"]

    assert [unit for unit in units if not host.service(unit).is_running] == []


def test_the_link_leads_to_the_good_release(host):
    assert host.file("/srv/shop/current").linked_to == "/srv/shop/releases/1.0.0"


def test_the_release_was_marked_good_by_who_ran_the_command(host):
    with host.sudo():
        lines = host.file("/srv/shop/good-releases.jsonl").content_string.splitlines()

    assert {(json.loads(line)["version"], json.loads(line)["by"]) for line in lines} == {
        ("1.0.0", getuser())
    }


def test_files_that_came_back_belong_to_whom_they_belonged(host):
    with host.sudo():
        rules = host.file("/etc/postgresql/15/main/pg_hba.conf")
        cache = host.file("/etc/redis/redis.conf")
        environment = host.file("/etc/shop/shop.env")
        key = host.file("/etc/nginx/tls/shop.key")

        assert (rules.user, rules.group, rules.mode) == ("postgres", "postgres", 0o640)
        assert (cache.user, cache.group, cache.mode) == ("redis", "redis", 0o640)
        assert (environment.user, environment.mode) == ("root", 0o600)
        assert (key.user, key.mode) == ("root", 0o600)
        assert not rules.contains("^host shop shop 127.0.0.1/32 reject")
        assert environment.contains("^SHOP_POOL=2$")


def test_what_units_said_last_is_kept_before_they_are_restarted(host):
    folder = _evidence("memory-leak")
    with host.sudo():
        log = host.file(f"{folder}/shop.service.log")
        state = host.file(f"{folder}/units.txt")

        assert "shop 1.3.0 starts" in log.content_string
        assert "Id=shop.service" in state.content_string
        assert (log.mode, host.file(folder).mode) == (0o600, 0o700)


def test_sessions_of_users_were_ended_and_those_of_probes_were_not(host):
    keys = host.check_output("redis-cli -a of-the-drill --no-auth-warning keys 'session:*'")

    assert set(keys.split()) == {"session:probe-one", "session:probe-two"}


def test_flags_are_as_the_scenarios_have_left_them(host):
    flags = json.loads(host.file("/etc/shop/flags.json").content_string)["flags"]

    assert {name: flag["defaultVariant"] for name, flag in flags.items()} == {
        "checkout": "on",
        "recommendations": "off",
        "rate_limiting": "on",
    }


def test_damaged_rows_are_kept_beside_the_table_until_the_database_is_restored(host):
    names = _sql(host, "SELECT datname FROM pg_database WHERE datname LIKE 'shop\\_\\_before\\_%'")

    assert len(names.split()) == 2
    assert _sql(host, "SELECT count(*) FROM orders WHERE cents = 1200") == "50"


def test_what_a_killed_database_said_last_is_kept(host):
    (record,) = FOLDER.glob("state/incidents/*-complete-failure-*")
    folder = f"/var/lib/rollback-playbook/of-the-database/{record.name}/evidence"
    with host.sudo():
        state = host.file(f"{folder}/units.txt")

        assert state.contains("^Id=postgresql@15-main.service$")
        # What stops the unit fails too, and is its result; this is how the server itself ended.
        assert state.contains("^ActiveState=failed$")
        assert state.contains("^ExecMainStatus=9$")
