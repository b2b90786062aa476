"""Values that a check expects of SQLite."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._sqlite import is_expected


@pytest.mark.parametrize(
    ("found", "expected", "holds"),
    [
        pytest.param(3, "3", True, id="a number given as text"),
        pytest.param(3, 3.0, True, id="numbers by value"),
        pytest.param("3.0", 3, True, id="text that is a number"),
        pytest.param(1, True, True, id="true is one"),
        pytest.param(2, True, False, id="two is not true"),
        pytest.param("ok", "ok", True, id="text"),
        pytest.param("OK", "ok", False, id="text in capitals"),
        pytest.param(0, "", False, id="zero is not nothing"),
    ],
)
def test_is_expected_compares_as_sqlite_would(found: Any, expected: Any, holds: bool) -> None:
    assert is_expected(found, expected) is holds
