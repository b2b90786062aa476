"""A file of flags after one of its parts was changed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils import _flag_file
from ansible_collections.sre.rollback.plugins.module_utils._flag_provider import FlagError

_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=4)
    ),
    max_leaves=6,
)
_MAPPINGS = st.dictionaries(st.text(max_size=5), _VALUES, max_size=3)
_HARMLESS = settings(
    max_examples=15,
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


def _file(folder: Path, name: str, text: str) -> _flag_file.FlagFile:
    path = folder / name
    path.write_text(text, encoding="utf-8", newline="")
    return _flag_file.load(str(path))


@given(_MAPPINGS, _MAPPINGS, _MAPPINGS, st.sampled_from([None, 2, "\t"]))
@_HARMLESS
def test_json_after_any_change_holds_what_was_wanted_and_can_go_back(
    tmp_path: Path,
    others: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    indent: int | str | None,
) -> None:
    document = {"others": others, "flag": before, "last": [1, {}]}
    text = json.dumps(document, indent=indent, ensure_ascii=False)

    changed = _file(tmp_path, "flags.json", text).with_values({("flag",): after})
    back = changed.with_values({("flag",): before})

    assert json.loads(changed.text) == {**document, "flag": after}
    assert json.loads(back.text) == document


@given(_MAPPINGS, _MAPPINGS, _MAPPINGS, st.booleans())
@_HARMLESS
def test_yaml_after_any_change_holds_what_was_wanted_for_every_reader_or_is_refused(
    tmp_path: Path,
    others: dict[str, Any],
    before: dict[str, Any],
    after: dict[str, Any],
    braces: bool,
) -> None:
    document = {"others": others, "flag": before, "last": {"a": "b"}}
    text = yaml.safe_dump(document, default_flow_style=braces, sort_keys=False, allow_unicode=True)
    try:
        changed = _file(tmp_path, "flags.yaml", text).with_values({("flag",): after})
    except FlagError:
        return  # A refusal leaves the file alone; the table below has the reasons.

    assert yaml.safe_load(changed.text) == {**document, "flag": after}


@pytest.mark.parametrize("word", ["off", "no", "1", "1e3", "null", "~", "2026-01-01", "a: b", "é"])
def test_yaml_word_is_a_string_for_every_reader(tmp_path: Path, word: str) -> None:
    file = _file(tmp_path, "flags.yml", "flags:\n  a: {state: x}  # kept\n  b: z\n")

    changed = file.with_values({("flags", "b"): word, ("flags", "a"): {"state": word, word: word}})

    document = {"flags": {"a": {"state": word, word: word}, "b": word}}
    assert yaml.safe_load(changed.text) == document
    assert "# kept" in changed.text


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a: &x {b: 1}\nc: {d: 1}\ne: *x\n", id="alias"),
        pytest.param("x: &x {b: 1}\na:\n  <<: *x\n  c: 2\n", id="merge key"),
    ],
)
def test_yaml_that_shares_its_parts_is_refused(tmp_path: Path, text: str) -> None:
    file = _file(tmp_path, "flags.yaml", text)

    with pytest.raises(FlagError, match="shares parts"):
        file.with_values({("a",): {"z": 9}})

    assert Path(file.path).read_text(encoding="utf-8") == text


@pytest.mark.parametrize(
    ("name", "text", "complaint"),
    [
        pytest.param("f.json", "", "not valid JSON", id="empty JSON"),
        pytest.param("f.json", '{"a": 1,}', "not valid JSON", id="comma at the end"),
        pytest.param("f.json", '{"a": 1, "a": 2}', "'a' stands twice", id="JSON key twice"),
        pytest.param("f.json", '{"a": ' * 99999, "not valid JSON", id="deep JSON"),
        pytest.param("f.json", "\ufeff{}", "not valid JSON", id="byte order mark"),
        pytest.param("f.yaml", "", "holds no mapping", id="empty YAML"),
        pytest.param("f.yaml", "a: 1\na: 2", "not valid YAML", id="YAML key twice"),
        pytest.param("f.yaml", "a: [", "not valid YAML", id="open"),
        pytest.param("f.yaml", "a: 1\n---\nb: 2", "not valid YAML", id="two documents"),
        pytest.param("f.yaml", "a: !!python/object:os.system {}", "not valid YAML", id="object"),
        pytest.param("f.yaml", "a: 2026-01-01", "not valid YAML", id="date"),
        pytest.param("f.yaml", "a: {on: 1}", "Quote them", id="word with two meanings"),
    ],
)
def test_file_that_a_client_could_not_read_is_refused(
    tmp_path: Path, name: str, text: str, complaint: str
) -> None:
    with pytest.raises(FlagError, match=complaint):
        _file(tmp_path, name, text)


def test_file_that_somebody_else_changed_meanwhile_is_left_as_they_wrote_it(tmp_path: Path) -> None:
    file = _file(tmp_path, "flags.json", '{"a": 1}')
    after = file.with_values({("a",): 2})
    Path(file.path).write_text('{"a": 3}', encoding="utf-8")

    with pytest.raises(FlagError, match="changed by somebody else"):
        file.replace_by(after)

    assert Path(file.path).read_text(encoding="utf-8") == '{"a": 3}'
