"""What is true on both servers after one died half-way, and after undo and another rollback."""

import json
import os
from getpass import getuser
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "rollback-playbook" / "vm" / "drill-gradual"
testinfra_hosts = [
    f"ssh://{name}?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/{name}.ssh"
    for name in ("app1", "app2")
]


def _registry(host):
    with host.sudo():
        lines = host.file("/srv/shop/good-releases.jsonl").content_string.splitlines()
    return [json.loads(line) for line in lines]


def test_the_server_sells_on_the_good_release(host):
    program = (
        "import urllib.request as r;"
        "print(r.urlopen('http://127.0.0.1:8000/price', timeout=60).read().decode())"
    )

    answer = json.loads(host.check_output("python3 -c %s", program))

    assert host.file("/srv/shop/current").linked_to == "/srv/shop/releases/1.0.0"
    assert (answer["release"], answer["waitress"], answer["cents"]) == ("1.0.0", "3.0.1", 600)


def test_its_packages_were_installed_without_an_index(host):
    with host.sudo():
        checked = host.run("/srv/shop/releases/1.0.0/venv/bin/pip check")

    assert checked.rc == 0


def test_the_release_was_marked_good_by_who_ran_the_command(host):
    deployed, doubted, last = _registry(host)

    assert (deployed["by"], doubted["bad"]) == ("unknown", True)
    assert (last["version"], last["by"]) == ("1.0.0", getuser())
    assert "bad" not in last


def test_the_wheels_of_the_good_release_are_kept(host):
    names = {Path(path).name for path in host.file("/srv/shop/wheels").listdir()}

    assert "waitress-3.0.1-py3-none-any.whl" in names
    assert host.file("/srv/shop/wheels/requirements.txt").contains("waitress==3.0.1")
