"""Connection options, and errors in words."""

from __future__ import annotations

from typing import Any

import pytest
import redis

from ansible_collections.sre.rollback.plugins.doc_fragments._redis import ModuleDocFragment
from ansible_collections.sre.rollback.plugins.module_utils._redis import (
    Address,
    ConnectionOptions,
    parse_address,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_errors import (
    RedisCommandError,
    RedisConnectionError,
    command_errors,
    connection_reason,
)
from ansible_collections.sre.rollback.plugins.module_utils._redis_options import (
    redis_argument_spec,
)


def test_documentation_and_argument_spec_have_the_same_options() -> None:
    import yaml

    documented = yaml.safe_load(ModuleDocFragment.DOCUMENTATION)["options"]
    spec = redis_argument_spec()

    assert list(documented) == list(spec)
    for name, option in spec.items():
        for key in ("type", "default", "choices", "elements"):
            assert documented[name].get(key) == option.get(key), (name, key)


@pytest.mark.parametrize(
    ("text", "address"),
    [
        pytest.param("cache:6379", Address("cache", 6379), id="name"),
        pytest.param("[::1]:26379", Address("::1", 26379), id="v6"),
    ],
)
def test_parse_address_reads_host_and_port(text: str, address: Address) -> None:
    assert parse_address(text) == address
    assert str(address) == text


@pytest.mark.parametrize("text", ["", "cache", "cache:", ":6379", "cache:port", "cache:70000"])
def test_parse_address_refuses_anything_else(text: str) -> None:
    with pytest.raises(RedisConnectionError, match="is not host:port"):
        parse_address(text)


def test_connection_options_of_no_parameters_are_the_defaults() -> None:
    options = ConnectionOptions.from_params({})

    assert (options.address, options.timeout) == (Address("localhost", 6379), 5.0)
    assert "ssl" not in options.client_arguments()


def test_connection_options_with_tls_check_certificate_and_host() -> None:
    arguments = ConnectionOptions.from_params({"tls": True}).client_arguments()
    careless = ConnectionOptions.from_params({"tls": True, "validate_certs": False})

    assert (arguments["ssl_cert_reqs"], arguments["ssl_check_hostname"]) == ("required", True)
    assert careless.client_arguments()["ssl_cert_reqs"] == "none"


@pytest.mark.parametrize(
    ("params", "words"),
    [
        pytest.param({"login_port": 0}, "is not a port", id="port"),
        pytest.param({"login_timeout": -1}, "must be above 0", id="timeout"),
        pytest.param({"client_cert_file": "/c"}, "tls is false", id="certificate without TLS"),
        pytest.param({"sentinels": ["here"]}, "is not host:port", id="sentinel"),
    ],
)
def test_connection_options_that_contradict_are_refused(params: dict[str, Any], words: str) -> None:
    with pytest.raises(RedisConnectionError, match=words):
        ConnectionOptions.from_params(params)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis.TimeoutError("Timeout"), "did not answer within 5 s"),
        (redis.exceptions.InvalidResponse("Protocol Error"), "does not speak the Redis protocol"),
        (redis.ConnectionError("WRONG_VERSION_NUMBER"), "does not speak TLS"),
        (redis.ConnectionError("certificate verify failed"), "cannot be trusted"),
        (redis.AuthenticationError("WRONGPASS invalid"), "refused the password of user 'op'"),
        (redis.ResponseError("something odd"), "cannot be used: something odd."),
    ],
)
def test_connection_reason_says_what_to_correct(error: Exception, words: str) -> None:
    assert words in connection_reason(error, user="op", timeout=5, tls=False)


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (redis.exceptions.NoPermissionError("no"), "ACL does not allow"),
        (redis.exceptions.ReadOnlyError("no"), "is a replica"),
        (redis.ConnectionError("gone"), "Redis failed while looking"),
        (ConnectionResetError("gone"), "Redis failed while looking"),
    ],
)
def test_command_errors_say_what_was_left(error: Exception, words: str) -> None:
    with (
        pytest.raises(RedisCommandError, match=words) as raised,
        command_errors("looking", left="All is as it was."),
    ):
        raise error

    assert "All is as it was." in str(raised.value)
