"""What is true on the application servers after the command line has rolled back release 1.1.0."""

import json
import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "rollback-playbook" / "vm" / "drill-application"
testinfra_hosts = [
    f"ssh://{name}?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/{name}.ssh"
    for name in ("app1", "app2")
]


def _answer(host, url):
    program = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=60).read().decode())"
    return json.loads(host.check_output("python3 -c %s", program))


def test_the_link_leads_to_the_good_release(host):
    assert host.file("/srv/shop/current").linked_to == "/srv/shop/releases/1.0.0"


def test_the_unit_runs_the_good_release_with_the_packages_of_its_lock_file(host):
    answer = _answer(host, "http://127.0.0.1:8000/price")

    assert host.service("shop").is_running
    assert (answer["release"], answer["waitress"], answer["cents"]) == ("1.0.0", "3.0.1", 600)


def test_packages_that_are_still_there_are_not_installed_again(host):
    environment = host.file("/srv/shop/releases/1.0.0/venv")

    assert Path(environment.linked_to).parent == Path("/srv/shop/environments")
    assert not host.file(f"{environment.linked_to}/bin/pip").exists


def test_the_bad_release_keeps_its_own_packages(host):
    program = "import importlib.metadata as m; print(m.version('waitress'))"

    shown = host.check_output("/srv/shop/releases/1.1.0/venv/bin/python -c %s", program)

    assert shown == "3.0.2"


def test_state_and_journal_of_the_bad_release_are_kept_as_evidence(host):
    points = "/var/lib/rollback-playbook/restore-points"
    with host.sudo():
        log = host.check_output(f"sh -c 'cat {points}/*/evidence/shop.service.log'")
        state = host.check_output(f"sh -c 'cat {points}/*/evidence/units.txt'")
        mode = host.check_output(f"sh -c 'stat --format=%a {points}/*/evidence'")

    assert "shop 1.1.0 starts" in log
    assert "Id=shop.service" in state
    assert mode == "700"
