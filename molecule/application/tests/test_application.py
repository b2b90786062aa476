"""What is true on the machines after release 1.1.0 was rolled back by the command line."""

import json

import pytest
import testinfra

APP = pytest.mark.testinfra_hosts("ansible://app")
PROXY = pytest.mark.testinfra_hosts("ansible://proxy")


def _answer(host: testinfra.host.Host, url: str) -> dict:
    program = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=20).read().decode())"
    return json.loads(host.check_output("python3 -c %s", program))


@APP
def test_the_link_leads_to_the_good_release(host):
    assert host.file("/srv/shop/current").linked_to == "/srv/shop/releases/1.0.0"


@APP
def test_the_unit_runs_the_good_release_with_the_packages_of_its_lock_file(host):
    answer = _answer(host, "http://127.0.0.1:8000/price")

    assert host.service("shop").is_running
    assert (answer["release"], answer["waitress"], answer["cents"]) == ("1.0.0", "3.0.1", 600)


@APP
def test_the_bad_release_keeps_its_own_packages(host):
    program = "import importlib.metadata as m; print(m.version('waitress'))"

    shown = host.check_output("/srv/shop/releases/1.1.0/venv/bin/python -c %s", program)

    assert shown == "3.0.2"


@APP
def test_state_and_journal_of_the_bad_release_are_kept_as_evidence(host):
    points = "/var/lib/rollback-playbook/restore-points"
    with host.sudo():
        log = host.check_output(f"cat {points}/*/evidence/shop.service.log")
        state = host.check_output(f"cat {points}/*/evidence/units.txt")
        mode = host.check_output(f"stat --format=%a {points}/*/evidence")

    assert "shop 1.1.0 starts" in log
    assert "Id=shop.service" in state
    assert mode == "700"


@PROXY
def test_users_are_let_in_and_see_a_price_from_both_servers(host):
    answers = [_answer(host, "http://127.0.0.1/price") for _ in range(4)]

    assert host.file("/etc/nginx/rollback/maintenance.conf").content_string == ""
    assert {answer["cents"] for answer in answers} == {600}
    assert {answer["host"] for answer in answers} == {"app1", "app2"}
