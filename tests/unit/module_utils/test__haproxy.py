"""What HAProxy's table of servers means."""

from __future__ import annotations

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._haproxy import (
    Server,
    parse_servers,
)

_HEADER = "1\n# be_id be_name srv_id srv_name srv_addr srv_op_state srv_admin_state\n"


@pytest.mark.parametrize(
    ("admin", "state"),
    [
        pytest.param(0x00, "ready", id="ready"),
        pytest.param(0x01, "maint", id="by command"),
        pytest.param(0x02, "maint", id="by a tracked server"),
        pytest.param(0x04, "ready", id="only disabled at the start"),
        pytest.param(0x05, "maint", id="disabled"),
        pytest.param(0x08, "drain", id="draining"),
        pytest.param(0x09, "maint", id="draining in maintenance"),
        pytest.param(0x20, "maint", id="by the resolver"),
    ],
)
def test_parse_servers_reads_the_administrative_state(admin: int, state: str) -> None:
    answer = f"{_HEADER}3 shop 1 blue 127.0.0.1 2 {admin}\n\n"

    assert parse_servers(answer) == {"shop/blue": Server(state, is_up=True)}


@pytest.mark.parametrize("answer", ["", "Permission denied\n", "2\n# a b\n", "1\n# a b\n1 2\n"])
def test_parse_servers_refuses_another_answer(answer: str) -> None:
    with pytest.raises((ValueError, KeyError)):
        parse_servers(answer)
