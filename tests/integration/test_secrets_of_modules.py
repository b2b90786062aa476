"""No secret of any module is in any output, however loud, whether the module fails or not."""

from __future__ import annotations

import base64
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import yaml

from rollback_playbook.catalogue.collection import collections_root
from rollback_playbook.execution.ansible_environment import ansible_environment
from tests.module_places import SECRET, Place
from tests.real_servers import PostgresServer, RedisServer
from tests.unleash import ADMIN, CLIENT

pytestmark = pytest.mark.integration

#: As an operator has it, in a vault: Ansible prints the lines of a playbook that fail.
_SECRET = "{{ secret }}"
_MODULES = collections_root() / "ansible_collections/sre/rollback/plugins/modules"
_HAS_SECRETS = re.compile(
    r"rollback\._postgres|rollback\._redis|rollback\._health_checks|no_log\W+True|secrets_in"
)
#: A login in an address is refused. It is hidden all the same.
_LOGIN_IN_URL = "http://ann:{{ secret | urlencode | replace('/', '%2F') }}@127.0.0.1:1/"
_NOBODY = {"login_host": "127.0.0.1", "login_port": 1, "login_password": _SECRET}


def _postgres_cases(login: dict[str, Any], backup: str) -> list[tuple[str, dict[str, Any]]]:
    """Every module that logs in to PostgreSQL, with what it cannot do without."""
    check = {"name": "orders", "query": "SELECT 1", "expected": 1}
    database = {**login, "database": "shop"}
    return [
        ("pg_backup_verified", {**database, "dest": backup}),
        ("pg_data_at_risk", {**database, "backup": backup}),
        ("pg_integrity", {**database, "checks": [check]}),
        ("pg_migrate", {**database, "target": "1", "directory": backup, "table": "m"}),
        ("pg_restore_info", database),
        ("pg_restore_verified", {**database, "backup": backup}),
        ("pg_salvage", {**database, "reference": "shop_before"}),
        ("environment_lock", {**login, "backend": "postgres", "environment": "x", "holder": "a"}),
    ]


def _gate(login: dict[str, Any], cache: dict[str, Any]) -> dict[str, Any]:
    url = {"url": "http://127.0.0.1:1/", "url_username": "ann", "url_password": _SECRET}
    checks = [
        {"name": "a", "postgres": {**login, "database": "shop", "query": "SELECT 1"}},
        {"name": "b", "redis": cache},
        {"name": "c", "http": {**url, "headers": {"Authorization": f"Bearer {_SECRET}"}}},
        {"name": "d", "prometheus": {**url, "query": "up", "min": 1}},
        {
            "name": "e",
            "command": {"argv": ["/bin/sh", "-c", "exit 3"], "env": {"PASSWORD": _SECRET}},
        },
    ]
    return {"checks": checks, "period": 0.1, "timeout": 2, "deadline": 0.5}


def _cases(
    postgres: dict[str, Any], cache: dict[str, Any], backup: str
) -> list[tuple[str, dict[str, Any]]]:
    breaker: dict[str, Any] = {"breakers": ["payments"], "state": "open"}
    actuator = {"provider": "resilience4j", "instances": ["http://127.0.0.1:1/actuator"]}
    sentinel = {
        "sentinels": ["127.0.0.1:1"],
        "sentinel_service": "cache",
        "sentinel_password": _SECRET,
    }
    lock: dict[str, Any] = {"environment": "x", "holder": "ann"}
    params = {"connect_params": {"password": _SECRET}, "login_port": 1, "backend": "postgres"}
    unleash = {"provider": "unleash", "url": "http://127.0.0.1:1", "flags": {"checkout": False}}
    return [
        *_postgres_cases(postgres, backup),
        *_postgres_cases({**postgres, **_NOBODY}, backup),
        ("redis_flush", {**cache, "mode": "db"}),
        ("redis_flush", {**_NOBODY, "mode": "db"}),
        ("redis_flush", {**sentinel, "mode": "db"}),
        ("circuit_breaker", {**cache, **breaker}),
        ("circuit_breaker", {**_NOBODY, **breaker}),
        ("circuit_breaker", {**actuator, **breaker, "bearer_token": _SECRET}),
        ("circuit_breaker", {**actuator, **breaker, "url_username": "a", "url_password": _SECRET}),
        ("environment_lock", {**cache, **lock, "backend": "redis"}),
        ("environment_lock", {**_NOBODY, **lock, "backend": "redis"}),
        ("environment_lock", {**params, **lock}),
        ("feature_flag", {**unleash, "api_token": _SECRET, "client_token": _SECRET}),
        ("feature_flag", {**unleash, "api_token": "x", "url": _LOGIN_IN_URL}),
        ("circuit_breaker", {**actuator, **breaker, "instances": [_LOGIN_IN_URL]}),
        ("traffic", {"url": _LOGIN_IN_URL, "maintenance_path": "/no", "state": "paused"}),
        ("health_gate", _gate(postgres, cache)),
    ]


def _run(folder: Path, cases: list[tuple[str, dict[str, Any]]], **variables: str) -> str:
    """What Ansible prints at -vvv when each of the cases is a task whose failure is ignored."""
    tasks = [
        {"name": f"Case {number}", f"sre.rollback.{name}": args, "ignore_errors": True}
        for number, (name, args) in enumerate(cases)
    ]
    play = {"hosts": "localhost", "gather_facts": False, "tasks": tasks}
    (folder / "play.yml").write_text(yaml.safe_dump([play]), encoding="utf-8")
    variables = {"ansible_python_interpreter": sys.executable, "secret": SECRET, **variables}
    (folder / "variables.json").write_text(json.dumps(variables), encoding="utf-8")
    done = subprocess.run(
        [
            str(Path(sys.executable).with_name("ansible-playbook")),
            *("-i", "localhost,", "-c", "local", "-vvv", "-e", f"@{folder / 'variables.json'}"),
            str(folder / "play.yml"),
        ],
        env=ansible_environment({**os.environ, "LC_ALL": "C.UTF-8"}, collections_root()),
        capture_output=True,
        text=True,
        timeout=850,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
    return done.stdout + done.stderr


def _assert_hidden(secret: str, output: str) -> None:
    for shape in (
        secret,
        quote(secret),
        quote(secret, safe=""),
        base64.b64encode(f"ann:{secret}".encode()).decode(),
        base64.b64encode(f"a:{secret}".encode()).decode(),
        json.dumps(secret)[1:-1],
        json.dumps(json.dumps(secret))[2:-2],
        repr(secret)[1:-1],
    ):
        assert shape not in output


@pytest.mark.timeout(900)
def test_every_module_that_fails_says_why_and_no_secret_at_the_loudest(
    tmp_path: Path, postgres_server: PostgresServer, valkey_server: RedisServer
) -> None:
    postgres = {**postgres_server.login, "login_password": _SECRET}
    cache = {**valkey_server.login, "login_password": _SECRET}
    backup = tmp_path / "backup"
    backup.mkdir()
    modules = [path for path in _MODULES.glob("*.py") if _HAS_SECRETS.search(path.read_text())]
    cases = _cases(postgres, cache, str(backup))
    assert {path.stem for path in modules} == {name for name, _args in cases}

    output = _run(tmp_path, cases)

    _assert_hidden(SECRET, output)
    assert f"ignored={len(cases)} " in output
    failures = re.findall(r"^fatal: .*", output, re.MULTILINE)
    assert len(failures) == len(cases)
    assert list(backup.iterdir()) == []


@pytest.mark.timeout(600)
def test_no_module_that_does_its_work_shows_a_secret_at_the_loudest(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    variables = {SECRET: _SECRET, ADMIN: "{{ admin }}", CLIENT: "{{ client }}"}
    names = ["cache", "pybreaker", "resilience4j", "unleash", "lock_redis", "lock_postgres"]
    places: list[Place] = [request.getfixturevalue(f"{name}_place") for name in names]
    cases = [
        (place.module, {name: _vaulted(value, variables) for name, value in place.options.items()})
        for place in places
    ]
    login = {name: cases[0][1][name] for name in ("login_host", "login_port", "login_password")}
    cases.append(("health_gate", {"checks": [{"name": "cache", "redis": login}], "period": 0.1}))

    output = _run(tmp_path, cases, admin=ADMIN, client=CLIENT)

    assert f"ok={len(cases)} " in output
    assert "ignored=0" in output
    for secret in (SECRET, ADMIN, CLIENT):
        _assert_hidden(secret, output)


def _vaulted(value: Any, variables: dict[str, str]) -> Any:
    """The option as an operator writes it, who keeps secrets in a vault."""
    return variables.get(value, value) if isinstance(value, str) else value
