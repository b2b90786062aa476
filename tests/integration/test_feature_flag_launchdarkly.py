"""Flags in a file that LaunchDarkly's own SDK reads."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.module_runner import RunModule

pytestmark = pytest.mark.integration

_WHOLE: dict[str, Any] = {
    "key": "checkout",
    "on": True,
    "version": 1,
    "salt": "x",
    "variations": [True, False],
    "offVariation": 1,
    "fallthrough": {"variation": 0},
    "rules": [],
    "targets": [{"values": ["bob"], "variation": 0}],
    "prerequisites": [],
}
_FLAGS: dict[str, Any] = {
    "flagValues": {"limit": 9, "search": True},
    "flags": {
        "checkout": _WHOLE,
        "colour": {
            **_WHOLE,
            "key": "colour",
            "variations": ["red", "green", "blue"],
            "offVariation": 0,
        },
    },
}


@pytest.fixture
def path(tmp_path: Path) -> Path:
    file = tmp_path / "flags.json"
    file.write_text(json.dumps(_FLAGS, indent=2) + "\n", encoding="utf-8")
    return file


@pytest.fixture
def client(path: Path) -> Iterator[Any]:
    """A client that polls the file."""
    ldclient = pytest.importorskip("ldclient", reason="launchdarkly-server-sdk is not installed")
    from ldclient.config import Config
    from ldclient.integrations import Files

    source = Files.new_data_source(
        paths=[str(path)], auto_update=True, force_polling=True, poll_interval=0.2
    )
    config = Config(sdk_key="offline", update_processor_class=source, send_events=False)
    found = ldclient.LDClient(config=config, start_wait=30)
    yield lambda flag, who: found.variation(flag, ldclient.Context.create(who), "nothing")
    found.close()


def _until(client: Any, flag: str, who: str, value: Any) -> bool:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        if client(flag, who) == value:
            return True
        time.sleep(0.05)
    return False


@pytest.mark.parametrize(
    ("flag", "wanted", "value"),
    [
        pytest.param("checkout", "off", False, id="off by a word"),
        pytest.param("colour", "blue", "blue", id="variation"),
        pytest.param("limit", 3, 3, id="number"),
        pytest.param("search", False, False, id="mere value"),
    ],
)
def test_launchdarkly_flag_is_the_same_for_everybody_and_undo_brings_back_the_bytes(
    run_module: RunModule, path: Path, client: Any, flag: str, wanted: Any, value: Any
) -> None:
    before = path.read_bytes()

    result = run_module(
        "feature_flag",
        {"provider": "launchdarkly_file", "path": str(path), "flags": {flag: wanted}},
    )

    assert result["evaluated"] == {flag: value}
    assert result["evaluated_by"] == "launchdarkly-server-sdk"
    assert _until(client, flag, "bob", value)
    assert _until(client, flag, "ann", value)
    run_module("feature_flag", result["undo"]["args"])
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "flags", "complaint"),
    [
        pytest.param(None, {"colour": "pink"}, 'takes one of "red", "green"', id="variation"),
        pytest.param(None, {"limit": "many"}, "takes a value like 9", id="another kind"),
        pytest.param("{}", {"limit": 1}, "neither flags nor flagValues", id="another format"),
        pytest.param('{"flags": {"a": 1}}', {"a": 1}, "something else than flags", id="no flag"),
    ],
)
def test_launchdarkly_bad_input_is_refused_and_the_file_left_alone(
    run_module: RunModule, path: Path, content: str | None, flags: dict[str, Any], complaint: str
) -> None:
    if content is not None:
        path.write_text(content, encoding="utf-8")
    before = path.read_bytes()

    result = run_module(
        "feature_flag", {"provider": "launchdarkly_file", "path": str(path), "flags": flags}
    )

    assert result["failed"]
    assert complaint in result["msg"]
    assert path.read_bytes() == before
