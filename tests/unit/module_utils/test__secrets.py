"""Secrets that hide inside values which are not secret as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._secrets import secrets_in


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        pytest.param("http://me:hunter22@host/x", {"hunter22"}, id="password in a URL"),
        pytest.param("http://me:pass%40b@host/", {"pass%40b", "pass@b"}, id="quoted password"),
        pytest.param("http://me:pa:ss@host/", {"pa:ss"}, id="password with a colon"),
        pytest.param("http://:only@host/", {"only"}, id="password without user"),
        pytest.param("http://host/?a=1&access_token=zzzz", {"zzzz"}, id="token in a query"),
        pytest.param("http://host/x@y:z", set(), id="no credentials"),
        pytest.param("--url=postgres://u:pw11@h/db", {"pw11"}, id="URL within an argument"),
        pytest.param("host=a password=pw22 dbname=b", {"pw22"}, id="conninfo"),
        pytest.param("--api-key=key1", {"key1"}, id="argument with a telling name"),
        pytest.param({"Authorization": "Bearer abcd"}, {"Bearer abcd", "abcd"}, id="bearer header"),
        pytest.param({"X-Api-Key": "kkkk"}, {"kkkk"}, id="key header"),
        pytest.param({"Cookie": "sid=1"}, {"sid=1"}, id="cookie"),
        pytest.param({"Accept": "text/html"}, set(), id="harmless header"),
        pytest.param({"PGPASSWORD": 12345}, {"12345"}, id="environment"),
        pytest.param({"client_key": "/etc/key.pem", "token": None}, set(), id="paths and nothing"),
        pytest.param({"X-Session": 1, "token": "abc"}, set(), id="too short to be hidden"),
        pytest.param([{"a": [{"url": "amqp://u:deep@h"}]}], {"deep"}, id="deep inside"),
    ],
)
def test_secrets_in_parameters_are_found(value: Any, secrets: set[str]) -> None:
    assert secrets_in({"checks": value}) == secrets
