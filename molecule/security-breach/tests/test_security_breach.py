"""What is true after a breach was answered, and what a stranger saw meanwhile."""

import json
import os
from datetime import datetime
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "rollback-playbook" / "vm" / "drill-security-breach"
testinfra_hosts = [f"ssh://shop1?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/shop1.ssh"]


def _sql(host, statement):
    with host.sudo("postgres"):
        return host.check_output(
            "psql --no-align --tuples-only --dbname=shop --command=%s", statement
        )


def _environment(host):
    with host.sudo():
        lines = host.file("/etc/shop/shop.env").content_string.splitlines()
    return dict(line.split("=", 1) for line in lines)


def _phases():
    """When each phase of the last incident began and ended."""
    record = max((FOLDER / "state").rglob("events.jsonl"))
    events = [json.loads(line) for line in record.read_text().splitlines()]
    return {
        (event["type"], event["data"]["name"]): datetime.fromisoformat(event["time"]).timestamp()
        for event in events
        if event["type"] in ("phase.started", "phase.finished")
    }


def test_strangers_were_let_in_before_and_after_and_never_between_protect_and_resume():
    samples = [json.loads(line) for line in (FOLDER / "samples.jsonl").read_text().splitlines()]
    closed = _phases()["phase.finished", "Protect"]
    opened = _phases()["phase.started", "Resume"]
    between = [
        sample for sample in samples if sample["begun"] > closed and sample["ended"] < opened
    ]

    assert len(between) > 1
    for name in ("shop", "stranger"):
        assert samples[0][name], name
        assert samples[-1][name], name
        assert not any(sample[name] for sample in between), name


def test_the_host_is_open_and_nothing_of_the_isolation_is_left(host):
    with host.sudo():
        tables = host.check_output("/usr/sbin/nft list tables")

    assert "rollback_isolation" not in tables
    assert not host.file("/etc/systemd/system/rollback-isolation.service").exists
    assert not host.file("/run/systemd/system/rollback-isolation-opens.timer").exists
    assert not host.service("rollback-isolation-opens.timer").is_running


def test_the_intruder_is_no_customer_any_more(host):
    assert _sql(host, "SELECT name FROM customers ORDER BY name") == "owner\nreader"


def test_every_user_has_to_choose_a_new_password(host):
    assert _sql(host, "SELECT count(*) FROM customers WHERE NOT must_reset") == "0"


def test_every_secret_is_a_new_one_and_stands_in_no_record(host):
    secrets = _environment(host)
    records = (FOLDER / "state").rglob("*")

    assert set(secrets) == {"SHOP_DATABASE_PASSWORD", "SHOP_SESSION_KEY"}
    assert "first" not in secrets.values()
    assert len(set(secrets.values())) == 2
    text = "".join(path.read_text(errors="replace") for path in records if path.is_file())
    assert text
    assert not any(secret in text for secret in secrets.values())


def test_the_patched_release_runs_with_the_new_password(host):
    program = (
        "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/').read().decode())"
    )

    answer = json.loads(host.check_output("python3 -c %s", program))

    assert answer == {"release": "1.0.1", "customers": ["owner", "reader"]}
