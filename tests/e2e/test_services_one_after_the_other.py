"""Services of two hosts that are restarted: there is always one of them that answers."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.real_servers import RedisServer
from tests.supervised import Supervised, wait_for_lines

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

_SLOW = pytest.mark.drill

#: Takes its time to get ready, but for the first time, and writes down both.
_PROGRAM = """rm -f {name}.ready; echo {name} starts >> log
test -e {name}.once && sleep 10; touch {name}.once
echo {name} ready >> log; touch {name}.ready; exec sleep 1000"""
_NAMES = ("web1", "web2")


@pytest.fixture
def fleet(tmp_path: Path, valkey_server: RedisServer) -> Iterator[Supervised]:
    """``app1`` runs ``web1`` and ``app2`` runs ``web2``; each has a check of its own.

    ``app1`` has a cache.
    """
    made = Supervised(tmp_path, {name: _PROGRAM.format(name=name) for name in _NAMES})

    def ready(*names: str) -> dict[str, Any]:
        files = " -a ".join(f"-e {tmp_path}/{name}.ready" for name in names)
        return {"name": f"{names} ready", "command": {"argv": ["sh", "-c", f"test {files}"]}}

    hosts = {
        f"app{number}": {
            "services_checks": [ready(name)],
            "own_services": [name],
            "connection_pool_environment_file": f"{tmp_path}/{name}.env",
        }
        for number, name in enumerate(_NAMES, start=1)
    }
    for name in _NAMES:
        (tmp_path / f"{name}.env").write_text("POOL=50\n")
    made.write_inventory(
        {"app": hosts, "cache": {"app1": {}}, "proxy": {}},
        services_period=0.1,
        memory_leak_services="{{ own_services }}",
        memory_leak_checks=[],
        cache_flush_services="{{ own_services }}",
        cache_mode="pattern",
        cache_patterns=["page:*"],
        cache_login_port=valkey_server.port,
        connection_pool_services="{{ own_services }}",
        connection_pool_limits={"POOL": "10"},
        connection_pool_checks=[],
        configuration_backup_dir=str(tmp_path / "backups"),
        verify_checks=[ready(*_NAMES)],
        verify_confirm_checks=[ready(*_NAMES)],
    )
    wait_for_lines(tmp_path / "log", 4)
    (tmp_path / "log").write_text("")
    yield made
    made.stop()


@_SLOW
@pytest.mark.parametrize("scenario", ["memory-leak", "cache-flush", "connection-pool"])
def test_next_host_has_its_turn_when_the_one_before_answers(
    fleet: Supervised, scenario: str
) -> None:
    done = fleet.types(scenario)

    assert done.returncode == 0, done.stderr
    assert (fleet.folder / "log").read_text().splitlines() == [
        f"{name} {what}" for name in _NAMES for what in ("starts", "ready")
    ]


@_SLOW
def test_supervisor_that_hangs_when_it_is_asked_for_evidence_delays_nobody_for_long(
    fleet: Supervised,
) -> None:
    """And is not asked for each log then."""
    real = fleet.variables["services_supervisor_bin"]
    hanging = fleet.folder / "hanging"
    hanging.write_text(
        '#!/bin/sh\ncase "$*" in *tail*|*" status web1 web2") '
        f'trap "" TERM; sleep 600; sleep 600;; esac\nexec {real} "$@"\n'
    )
    hanging.chmod(0o755)
    about = {
        "services_supervisor_bin": str(hanging),
        "services_evidence_timeout": 1,
        "own_services": list(_NAMES),
        "services_checks": [],
    }

    done = fleet.types("memory-leak", "--limit", "app1", "-e", json.dumps(about))

    assert done.returncode == 0, done.stderr
    assert not [*fleet.folder.glob("restore-points/*/evidence/services.txt")]
    assert "did not answer in time); it goes on without them" in " ".join(done.stderr.split())
