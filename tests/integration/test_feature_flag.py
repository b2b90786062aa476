"""Flags that a real OpenFeature client sees."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.module_places import read_only
from tests.module_runner import RunModule, killed_at_many_moments, start_module

pytestmark = pytest.mark.integration

_CLIENT = """
import sys
from openfeature import api
from openfeature.contrib.provider.flagd import FlagdProvider
from openfeature.contrib.provider.flagd.config import ResolverType
provider = FlagdProvider(
    resolver_type=ResolverType.FILE, offline_flag_source_path=sys.argv[1]
)
# Not before it has read the file: until then it answers with the default, and a file that
# changes between its reading and its look at the file's time is never read again.
api.set_provider_and_wait(provider)
for line in sys.stdin:
    value = api.get_client().get_boolean_value(line.strip(), default_value=True)
    print(value, flush=True)
"""

_FLAGS: dict[str, Any] = {
    "$schema": "https://flagd.dev/schema/v0/flags.json",
    "flags": {
        "zeta": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on",
            "targeting": {"if": [True, "on", "off"]},
        },
        "alpha": {
            "state": "ENABLED",
            "variants": {"small": 1, "large": 9, "Łódź": 3},
            "defaultVariant": "large",
        },
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(_FLAGS, indent=3, ensure_ascii=False) + "\n", encoding="utf-8")
    file.chmod(0o640)
    return file


@contextlib.contextmanager
def _client_of(path: Path) -> Iterator[subprocess.Popen[str]]:
    """A client in another process that answers a flag's name with its value."""
    process = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # How often the provider looks at the file.
        env={**os.environ, "FLAGD_DEADLINE_MS": "200"},
    )
    yield process
    process.kill()
    process.communicate()


@pytest.fixture
def client(path: Path) -> Iterator[subprocess.Popen[str]]:
    with _client_of(path) as process:
        yield process


@pytest.fixture
def yaml_client(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    path = tmp_path / "flags.yaml"
    path.write_text(_YAML, encoding="utf-8")
    with _client_of(path) as process:
        yield process


def _asked(client: subprocess.Popen[str], flag: str) -> str:
    assert client.stdin is not None
    assert client.stdout is not None
    client.stdin.write(flag + "\n")
    client.stdin.flush()
    return client.stdout.readline().strip()


def _until(client: subprocess.Popen[str], flag: str, value: str) -> bool:
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        if _asked(client, flag) == value:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize("off", ["off", False, "False"])
def test_flag_switched_off_is_off_for_a_client_despite_its_targeting(
    run_module: RunModule, path: Path, client: subprocess.Popen[str], off: Any
) -> None:
    assert _asked(client, "zeta") == "True"

    result = run_module("feature_flag", {"path": str(path), "flags": {"zeta": off}})

    assert result["evaluated"] == {"zeta": False}
    assert result["evaluated_by"] == "openfeature-flagd-core"
    assert _until(client, "zeta", "False")


def test_flag_undo_brings_back_the_very_same_bytes(run_module: RunModule, path: Path) -> None:
    before = path.read_bytes()

    undo = run_module("feature_flag", {"path": str(path), "flags": {"zeta": "off"}})["undo"]
    assert path.read_bytes() != before
    run_module("feature_flag", undo["args"])

    assert path.read_bytes() == before


def test_flag_change_keeps_order_indentation_mode_and_every_other_flag(
    run_module: RunModule, path: Path
) -> None:
    run_module("feature_flag", {"path": str(path), "flags": {"alpha": "Łódź"}})

    text = path.read_text(encoding="utf-8")
    document = json.loads(text)
    assert list(document["flags"]) == ["zeta", "alpha"]
    assert document["flags"]["zeta"] == _FLAGS["flags"]["zeta"]
    assert '\n   "flags"' in text
    assert path.stat().st_mode & 0o777 == 0o640


_YAML = """\
# Who may buy
flags:
  checkout:   # asked by ann
    state: ENABLED
    variants: {"on": true, "off": false}
    defaultVariant: 'on'   # since March
    targeting:
      if:
      - in: [a, {var: email}]   # friends
      - "off"
      - null

  speed:
    state: "ENABLED"
    variants:
      low: 1
      high: 9
    defaultVariant: high
"""


def test_flag_in_yaml_is_switched_for_a_client_and_every_comment_stays(
    run_module: RunModule, tmp_path: Path, yaml_client: subprocess.Popen[str]
) -> None:
    path = tmp_path / "flags.yaml"
    assert _asked(yaml_client, "checkout") == "True"

    result = run_module("feature_flag", {"path": str(path), "flags": {"checkout": "off"}})

    assert result["evaluated"] == {"checkout": False}
    assert _until(yaml_client, "checkout", "False")
    before, after = _YAML.splitlines(), path.read_text(encoding="utf-8").splitlines()
    assert [line for line in after if line not in before] == [
        "    defaultVariant: 'off'  # since March"
    ]
    assert [line for line in before if line.strip() and line not in after] == [
        "    defaultVariant: 'on'   # since March",
        "    targeting:",
        "      if:",
        "      - in: [a, {var: email}]   # friends",
        '      - "off"',
        "      - null",
    ]

    run_module("feature_flag", result["undo"]["args"])
    assert _until(yaml_client, "checkout", "True")
    assert yaml.safe_load(path.read_text(encoding="utf-8")) == yaml.safe_load(_YAML)


def test_flag_in_a_file_that_clients_cannot_read_is_refused_before_the_change(
    run_module: RunModule, path: Path
) -> None:
    document = json.loads(path.read_text(encoding="utf-8"))
    document["flags"]["broken"] = {"state": "ENABLED"}
    path.write_text(json.dumps(document), encoding="utf-8")
    before = path.read_bytes()

    result = run_module("feature_flag", {"path": str(path), "flags": {"zeta": "off"}})

    assert "an OpenFeature client cannot evaluate" in result["msg"]
    assert path.read_bytes() == before


def test_flags_changed_by_many_at_once_are_all_changed(path: Path) -> None:
    document = {"flags": {f"flag{n}": _FLAGS["flags"]["alpha"] for n in range(8)}}
    path.write_text(json.dumps(document), encoding="utf-8")
    options = {"path": str(path), "verify": False}

    everybody = [
        start_module("feature_flag", {**options, "flags": {f"flag{n}": "small"}}) for n in range(8)
    ]
    for process in everybody:
        output, errors = process.communicate(timeout=240)
        assert json.loads(output)["changed"], errors

    after = json.loads(path.read_text(encoding="utf-8"))["flags"]
    assert {flag["defaultVariant"] for flag in after.values()} == {"small"}


@pytest.mark.attack
def test_flag_change_killed_at_any_moment_leaves_the_old_file_or_the_new(
    run_module: RunModule, path: Path, tmp_path: Path
) -> None:
    before, left = path.read_bytes(), []
    options = {"path": str(path), "restore_point": str(tmp_path / "point.json")}
    off = {**options, "flags": {"zeta": "off"}}
    for _turn in killed_at_many_moments("feature_flag", lambda _turn: off, turns=40):
        left.append(path.read_bytes())

        run_module("feature_flag", off)
        run_module("feature_flag", options)
        assert path.read_bytes() == before

    whole_new = left[0]
    assert json.loads(whole_new)["flags"]["zeta"]["defaultVariant"] == "off"
    assert set(left[1:]) == {before, whole_new}


def test_flag_that_is_as_asked_changes_nothing(run_module: RunModule, path: Path) -> None:
    before = path.stat().st_mtime_ns

    result = run_module("feature_flag", {"path": str(path), "flags": {"alpha": "large"}})

    assert not result["changed"]
    assert result["undo"] is None
    assert path.stat().st_mtime_ns == before


def test_flag_in_check_mode_predicts_and_writes_nothing(run_module: RunModule, path: Path) -> None:
    before = path.read_bytes()

    result = run_module(
        "feature_flag", {"path": str(path), "flags": {"zeta": "off"}}, check=True, diff=True
    )

    assert result["changed"]
    assert result["after"]["zeta"]["defaultVariant"] == "off"
    assert result["diff"]["before"]["zeta"]["defaultVariant"] == "on"
    assert path.read_bytes() == before


def test_flag_restore_point_keeps_what_the_first_attempt_found(
    run_module: RunModule, path: Path, tmp_path: Path
) -> None:
    before = path.read_bytes()
    point = tmp_path / "points" / "flags.json"

    first = {"path": str(path), "flags": {"zeta": "off"}, "restore_point": str(point)}
    run_module("feature_flag", first)
    run_module("feature_flag", {**first, "flags": {"zeta": "off", "alpha": "small"}})
    put_back = run_module("feature_flag", {"path": str(path), "restore_point": str(point)})
    again = run_module("feature_flag", {"path": str(path), "restore_point": str(point)})

    assert put_back["changed"]
    assert json.loads(path.read_bytes()) == json.loads(before)
    assert not point.exists()
    assert not again["changed"]


def test_flag_restore_point_of_a_change_that_was_not_made_keeps_what_it_had(
    run_module: RunModule, path: Path, tmp_path: Path
) -> None:
    point = tmp_path / "points" / "flags.json"
    options = {"path": str(path), "restore_point": str(point)}
    run_module("feature_flag", {**options, "flags": {"zeta": "off"}})
    kept = point.read_bytes()

    with read_only(path):
        result = run_module("feature_flag", {**options, "flags": {"alpha": "small"}})

    assert "cannot be written" in result["msg"]
    assert point.read_bytes() == kept


@pytest.mark.parametrize(
    ("content", "flags", "complaint"),
    [
        pytest.param(None, {"zeta": "off"}, "there is no file", id="no file"),
        pytest.param("{", {"zeta": "off"}, "not valid JSON", id="broken JSON"),
        pytest.param("[]", {"zeta": "off"}, "is no file of flags", id="no mapping"),
        pytest.param("{}", {"zeta": "off"}, "not a flagd definition", id="another format"),
        pytest.param("ok", {"alpha": True}, "no variant for True", id="no boolean variant"),
    ],
)
def test_flag_bad_input_is_refused_and_the_file_left_alone(
    run_module: RunModule, path: Path, content: str | None, flags: dict[str, Any], complaint: str
) -> None:
    if content is None:
        path.unlink()
    elif content != "ok":
        path.write_text(content, encoding="utf-8")
    before = path.read_bytes() if path.exists() else None

    result = run_module("feature_flag", {"path": str(path), "flags": flags})

    assert result["failed"]
    assert complaint in result["msg"]
    assert (path.read_bytes() if path.exists() else None) == before
