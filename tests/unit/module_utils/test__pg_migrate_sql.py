"""Splitting SQL into statements."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._pg_migrate_sql import (
    split_statements,
)

_ATOMIC = """CREATE OR REPLACE FUNCTION f(a int) RETURNS int LANGUAGE sql
BEGIN ATOMIC
  SELECT CASE WHEN a > 1 THEN 1 ELSE 2 END;
  SELECT 2;
END"""


@pytest.mark.parametrize(
    ("text", "statements"),
    [
        pytest.param("", [], id="nothing"),
        pytest.param(" ;; -- only; a comment\n/* and; */ ;", [], id="nothing but comments"),
        pytest.param("a; b ;\nc", ["a", "b", "c"], id="three"),
        pytest.param("SELECT ';', 'it''s;' ; b", ["SELECT ';', 'it''s;'", "b"], id="strings"),
        pytest.param(r"SELECT E'\';' ; b", [r"SELECT E'\';'", "b"], id="escape strings"),
        pytest.param(r"SELECT '\' ; b", [r"SELECT '\'", "b"], id="backslash in a plain string"),
        pytest.param('ALTER TABLE "a;""b" ; b', ['ALTER TABLE "a;""b"', "b"], id="names"),
        pytest.param("DO $$ BEGIN; END $$ ; b", ["DO $$ BEGIN; END $$", "b"], id="dollars"),
        pytest.param(
            "DO $a$ $$;$$ $b$ $a$ ; b", ["DO $a$ $$;$$ $b$ $a$", "b"], id="tagged dollars"
        ),
        pytest.param("SELECT $1; b", ["SELECT $1", "b"], id="a parameter is no dollar quote"),
        pytest.param("SELECT a$$b; c", ["SELECT a$$b", "c"], id="dollars within a word"),
        pytest.param("a /* x /* ; */ ; */ b; c", ["a /* x /* ; */ ; */ b", "c"], id="nested"),
        pytest.param(
            "CREATE RULE r AS ON INSERT TO t DO (a; b); c",
            ["CREATE RULE r AS ON INSERT TO t DO (a; b)", "c"],
            id="parentheses",
        ),
        pytest.param(f"{_ATOMIC}; b", [_ATOMIC, "b"], id="body of a routine"),
        pytest.param("BEGIN; a; END; b", ["BEGIN", "a", "END", "b"], id="a transaction is no body"),
        pytest.param("SELECT 'open ; b", ["SELECT 'open ; b"], id="open string"),
        pytest.param("SELECT $x$ open ; b", ["SELECT $x$ open ; b"], id="open dollars"),
    ],
)
def test_split_statements_ends_a_statement_where_the_server_does(
    text: str, statements: list[str]
) -> None:
    assert [statement.text for statement in split_statements(text)] == statements


def test_split_statements_tells_lines_words_and_commands_of_psql() -> None:
    first, second, third = split_statements(
        "-- why\nCREATE  /* x */ TABLE t ();\n\n  \\i other.sql\n; SELECT '\\'"
    )

    assert (first.line, first.words[:2], first.meta) == (2, ("CREATE", "TABLE"), False)
    assert (second.line, second.meta) == (4, True)
    assert (third.line, third.meta) == (5, False)


_PIECES = st.sampled_from(
    [
        "'",
        '"',
        "$$",
        "$a$",
        ";",
        "--",
        "/*",
        "*/",
        "\n",
        "(",
        ")",
        "\\",
        "BEGIN ATOMIC",
        "a",
        "é",
        " ",
    ]
)


@settings(max_examples=300, derandomize=True)
@given(st.lists(_PIECES).map("".join))
def test_split_statements_takes_any_text_and_loses_nothing_of_it(text: str) -> None:
    position = 0
    for statement in split_statements(text):
        assert statement.text
        position = text.index(statement.text, position) + len(statement.text)


@settings(max_examples=200, derandomize=True)
@given(st.lists(st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=20)))
def test_split_statements_keeps_quoted_text_whole(values: list[str]) -> None:
    quoted = ["SELECT '" + value.replace("'", "''") + "'" for value in values]

    found = [statement.text for statement in split_statements(";\n".join(quoted))]

    assert found == quoted
