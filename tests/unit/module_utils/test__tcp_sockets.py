"""Who is connected to a container and where it listens, from what the kernel says."""

from __future__ import annotations

import os
import socket
import subprocess

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._tcp_sockets import (
    listening,
    peers,
    tables_of,
)

_HEAD = (
    "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout\n"
)
#: Of port 8000, on every address.
_LISTENS = ("00000000:1F40", "00000000:0000", "0A")
_HERE, _PEER = "030012AC:1F40", "020012AC:B3E4"


def table(*rows: tuple[str, str, str]) -> str:
    lines = (
        f"{number:4}: {local} {peer} {state} 0:0 00:00000000 00000000 0 0\n"
        for number, (local, peer, state) in enumerate(rows)
    )
    return _HEAD + "".join(lines)


@pytest.mark.parametrize(
    ("state", "wants"),
    [
        pytest.param("01", True, id="established"),
        pytest.param("03", True, id="being accepted"),
        pytest.param("08", True, id="has asked and closed its half"),
        pytest.param("04", True, id="has not got all of the answer"),
        pytest.param("05", False, id="has got all of it"),
        pytest.param("06", False, id="was connected before"),
    ],
)
def test_peer_counts_while_it_may_want_something(state: str, *, wants: bool) -> None:
    assert peers(table(_LISTENS, (_HERE, _PEER, state))) == ([_PEER] if wants else [])


def test_connection_that_the_container_made_itself_does_not_count() -> None:
    assert peers(table(_LISTENS, ("030012AC:D431", "050012AC:1538", "01"))) == []


@pytest.mark.parametrize(
    "local",
    [
        "0100007F:1F40",
        "0000000000000000FFFF00000100007F:1F40",
        "00000000000000000000000001000000:1F40",
    ],
)
def test_its_own_health_check_does_not_count(local: str) -> None:
    assert peers(table(_LISTENS, (local, _PEER, "01"))) == []


def test_nobody_is_connected_where_there_is_no_such_table() -> None:
    assert peers("") == []
    assert peers(_HEAD) == []


def test_container_listens_where_its_own_programs_do() -> None:
    name_server = ("0B00007F:A1B2", "00000000:0000", "0A")
    assert listening(table(name_server)) == []
    assert listening(table(name_server, _LISTENS, (_HERE, _PEER, "01"))) == ["00000000:1F40"]


def test_process_that_has_ended_has_empty_tables() -> None:
    done = subprocess.Popen(["true"])
    done.wait()
    assert tables_of(done.pid) == ["", ""]


def test_own_socket_is_seen_while_it_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        mine = f"0100007F:{server.getsockname()[1]:04X}"
        assert mine in listening(tables_of(os.getpid())[0])
    assert mine not in listening(tables_of(os.getpid())[0])
