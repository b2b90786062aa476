"""What users get through the proxy after the command line has rolled back release 1.1.0."""

import json
import os
from pathlib import Path

CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
FOLDER = CACHE / "rollback-playbook" / "vm" / "drill-application"
testinfra_hosts = [f"ssh://proxy1?ssh_config={FOLDER}/ssh_config&controlpath={FOLDER}/proxy1.ssh"]


def _answer(host, url):
    program = f"import urllib.request as r; print(r.urlopen({url!r}, timeout=60).read().decode())"
    return json.loads(host.check_output("python3 -c %s", program))


def test_users_are_let_in_and_see_a_price_from_both_servers(host):
    answers = [_answer(host, "http://127.0.0.1/price") for _ in range(4)]

    assert host.file("/etc/nginx/rollback/maintenance.conf").content_string == ""
    assert {answer["cents"] for answer in answers} == {600}
    assert {answer["host"] for answer in answers} == {"app1", "app2"}
