"""Secrets that hide inside values which are not secret as a whole."""

from __future__ import annotations

from typing import Any

import pytest

from ansible_collections.sre.rollback.plugins.module_utils._gate_secrets import secrets_in


@pytest.mark.parametrize(
    ("value", "secrets"),
    [
        pytest.param("http://me:hunter22@host/x", {"hunter22"}, id="password in a URL"),
        pytest.param("http://me:a%40b@host/", {"a%40b", "a@b"}, id="quoted password"),
        pytest.param("http://me:a:b@host/", {"a:b"}, id="password with a colon"),
        pytest.param("http://:only@host/", {"only"}, id="password without user"),
        pytest.param("http://host/?a=1&access_token=zzz", {"zzz"}, id="token in a query"),
        pytest.param("http://host/x@y:z", set(), id="no credentials"),
        pytest.param("--url=postgres://u:pw1@h/db", {"pw1"}, id="URL within an argument"),
        pytest.param("host=a password=pw2 dbname=b", {"pw2"}, id="conninfo"),
        pytest.param("--api-key=k1", {"k1"}, id="argument with a telling name"),
        pytest.param({"Authorization": "Bearer abc"}, {"Bearer abc", "abc"}, id="bearer header"),
        pytest.param({"X-Api-Key": "kk"}, {"kk"}, id="key header"),
        pytest.param({"Cookie": "sid=1"}, {"sid=1"}, id="cookie"),
        pytest.param({"Accept": "text/html"}, set(), id="harmless header"),
        pytest.param({"PGPASSWORD": 12345}, {"12345"}, id="environment"),
        pytest.param({"client_key": "/etc/key.pem", "token": None}, set(), id="paths and nothing"),
        pytest.param([{"a": [{"url": "amqp://u:deep@h"}]}], {"deep"}, id="deep inside"),
    ],
)
def test_secrets_in_parameters_are_found(value: Any, secrets: set[str]) -> None:
    assert secrets_in({"checks": value}) == secrets
