"""What a client program of PostgreSQL said, when it fails."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._pg_programs import (
    ProgramError,
    Running,
)


def test_it_is_text_since_ansible_fails_over_a_list() -> None:
    argv = ["sh", "-c", "echo first >&2; echo second >&2; exit 3"]

    with Running(argv, {}) as running:
        assert running.is_done(30)
        with pytest.raises(ProgramError, match="first; second") as failed:
            running.check("Nothing was changed.")

    assert failed.value.result["stderr"] == "first\nsecond"
