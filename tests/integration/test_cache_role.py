"""The role cache reaches a cache in every way in which its module does, there and back."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.real_servers import RedisServer
from tests.redis_topologies import RedisClusterServers, make_certificates, tls_front
from tests.role_runner import run_playbook

pytestmark = pytest.mark.integration

_PLAYBOOK = """
- name: Switch
  hosts: app
  gather_facts: false
  tasks:
    - name: Counted, flushed, and taken back
      ansible.builtin.include_role: {name: sre.rollback.cache, tasks_from: "{{ item }}"}
      loop: "{{ entries }}"
"""


def _plays(folder: Path, entries: list[str], **variables: Any) -> None:
    host = {
        "ansible_connection": "local",
        "ansible_python_interpreter": sys.executable,
        "entries": entries,
        "cache_patterns": ["page:*"],
        "cache_restore_points": str(folder / "points"),
        "cache_restore_id": "inc-1",
        **variables,
    }
    done = run_playbook(folder, _PLAYBOOK, {"app": {"hosts": {"cache1": host}}})
    assert done.returncode == 0, done.stdout + done.stderr


def _undo_of(folder: Path) -> dict[str, Any]:
    (point,) = (folder / "points" / "inc-1").iterdir()
    return {
        "module": "sre.rollback.redis_flush",
        "args": {"state": "restored", "restore_point": str(point)},
        "certain": True,
    }


def test_cache_behind_tls_is_flushed_and_gets_its_keys_back(
    tmp_path: Path, valkey_server: RedisServer
) -> None:
    client = valkey_server.client()
    client.mset({"page:1": "stale", "user:1": "stays"})
    certificates = make_certificates(tmp_path)

    with tls_front(certificates, valkey_server.port) as port:
        reached = {
            "cache_login_port": port,
            "cache_connection": {"tls": True, "ca_certs": str(certificates.authority)},
        }
        _plays(tmp_path, ["prepare", "flush"], **reached)
        assert list(client.scan_iter()) == [b"user:1"]

        _plays(tmp_path, ["undo"], cache_undo=_undo_of(tmp_path), **reached)
    assert client.get("page:1") == b"stale"


def test_cluster_is_flushed_on_every_node_and_only_one_node_when_asked(
    tmp_path: Path, cluster: RedisClusterServers
) -> None:
    client = cluster.client()
    for number in range(60):
        client.set(f"page:{number}", "stale")
    login = {"cache_login_port": cluster.login["login_port"]}

    _plays(tmp_path, ["prepare", "flush"], cache_connection={"cluster": "never"}, **login)
    left = len(list(client.scan_iter()))
    assert 0 < left < 60

    _plays(tmp_path, ["prepare", "flush"], **login)
    assert list(client.scan_iter()) == []
