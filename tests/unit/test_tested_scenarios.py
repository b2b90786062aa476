"""The page of the tested scenarios, and what counts as one."""

from __future__ import annotations

from pathlib import Path

from tests.tested_scenarios import PAGE, in_tests, page

_TESTS = """
def test_one(shop):
    done = shop.run("full", "--yes")
    assert done.code == 0, done.output
    again = shop.run("gradual", "--yes")
    assert again.code == 3
    assert shop.types("application").returncode == 0


def test_two(shop):
    shop.run("emergency")
    done = shop.run(SCENARIO)
    assert done.code == 0
"""


def test_the_page_is_what_the_tests_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "make docs"


def test_only_what_a_test_sees_succeed_counts(tmp_path: Path) -> None:
    (tmp_path / "test_shop.py").write_text(_TESTS)

    assert in_tests(tmp_path) == {"application": ["`test_shop`"], "full": ["`test_shop`"]}
