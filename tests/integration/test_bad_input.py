"""Every module that acts in an emergency, given what is wrong: one clear message, no change."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.module_places import SECRET, Place, read_only
from tests.module_runner import RunModule
from tests.unleash import ADMIN, CLIENT

pytestmark = pytest.mark.integration

_PLACES = [
    "gate",
    "cache",
    "pybreaker",
    "resilience4j",
    "haproxy_breaker",
    "flagd",
    "launchdarkly",
    "unleash",
    "nginx",
    "haproxy",
    "lock_file",
    "lock_redis",
    "lock_postgres",
]


@pytest.fixture
def place(request: pytest.FixtureRequest) -> Place:
    """The place whose name is the test's parameter."""
    found: Place = request.getfixturevalue(f"{request.param}_place")
    return found


@pytest.mark.parametrize("place", [name for name in _PLACES if name != "gate"], indirect=True)
def test_options_of_the_place_without_a_mistake_change_it(
    run_module: RunModule, place: Place
) -> None:
    before = place.seen()

    result = run_module(place.module, place.options)

    assert result["changed"], result.get("msg")
    assert place.seen() != before


def _check(**kind: Any) -> dict[str, Any]:
    """A gate of one check; what the check does not say is as the place has it."""
    return {"checks": [{"name": "it", **kind}]}


def _https(place: Place) -> str:
    return str(place.options["checks"][0]["http"]["url"]).replace("http:", "https:")


def _as_tls_server(place: Place) -> dict[str, Any]:
    address = urlsplit(_https(place))
    return _check(tls={"host": address.hostname, "port": address.port})


def _as_https(option: str) -> Callable[[Place], dict[str, Any]]:
    """The address of a plain server as that of one with TLS."""

    def options(place: Place) -> dict[str, Any]:
        found = place.options[option]
        if isinstance(found, list):
            return {option: [each.replace("http:", "https:") for each in found]}
        return {option: found.replace("http:", "https:")}

    return options


Wrong = dict[str, Any] | Callable[[Place], dict[str, Any]]

_WRONG_PASSWORD = {"login_password": SECRET + "2"}
_NOBODY = {"login_host": "127.0.0.1", "login_port": 1}
_NO_URL = "http://127.0.0.1:1"
_NO_CERTIFICATE = {
    "certificate": "/no/tls.pem",
    "private_key": "/no/tls.key",
    "server_name": "shop.example.com",
}
_CASES: dict[str, list[tuple[str, Wrong, str]]] = {
    "unknown kind": [
        ("gate", _check(grpc={}), "checks[0].grpc is not known. Known are: command, container"),
        ("gate", _check(), "one of the following is required"),
        ("gate", {"require": "most"}, "require must be all, any, or a number"),
        ("cache", {"mode": "some"}, "value of mode must be one of: pattern, db, all"),
        ("cache", {"spare": ["nobody"]}, "value of spare must be one or more of"),
        ("pybreaker", {"provider": "hystrix"}, "value of provider must be one of"),
        ("pybreaker", {"state": "ajar"}, "value of state must be one of"),
        ("resilience4j", {"state": "half_open"}, "neither half_open nor a lease"),
        ("haproxy_breaker", {"state": "half_open"}, "neither half_open nor a lease"),
        ("haproxy_breaker", {"breakers": ["app/red"]}, "Unknown breakers: 'app/red'"),
        ("flagd", {"provider": "etcd"}, "value of provider must be one of"),
        ("flagd", {"flags": {"nope": "off"}}, "no flag 'nope'"),
        ("flagd", {"flags": {"checkout": "blue"}}, "no variant for 'blue'"),
        ("launchdarkly", {"flags": {"nope": "off"}}, "no flag 'nope'"),
        ("unleash", {"flags": {"nope": True}}, "no such project, environment or flag"),
        ("unleash", {"flags": {"checkout": "blue"}}, "can be true or false"),
        ("unleash", {"environment": "moon"}, "has no environment 'moon'"),
        ("nginx", {"provider": "caddy"}, "value of provider must be one of: nginx, haproxy"),
        ("nginx", {"state": "slow"}, "value of state must be one of"),
        ("haproxy", {"backend": "nope"}, "no backend 'nope'"),
        ("haproxy", {"pause_with": "tears"}, "value of pause_with must be one of"),
        ("lock_file", {"backend": "etcd"}, "value of backend must be one of"),
        ("lock_file", {"state": "taken"}, "value of state must be one of"),
    ],
    "wrong type": [
        ("gate", {"checks": "shop"}, "checks"),
        ("gate", _check(http="http://127.0.0.1/"), "checks[0].http must be a dictionary"),
        ("gate", {"period": "soon"}, "period"),
        ("gate", {"deadline": "nan"}, "deadline must be above 0"),
        ("cache", {"max_stall_ms": "soon"}, "max_stall_ms"),
        ("cache", {"db": -1}, "db not negative"),
        ("cache", {"login_port": 99999}, "99999 is not a port"),
        ("pybreaker", {"lease": "soon"}, "lease"),
        ("pybreaker", {"lease": "nan"}, "lease goes with state=open alone"),
        ("pybreaker", {"breakers": {"a": 1}}, "breakers"),
        ("pybreaker", {"settle": "nan"}, "settle must not be negative or without end"),
        ("pybreaker", {"login_timeout": "nan"}, "login_timeout must be above 0"),
        ("resilience4j", {"login_timeout": "inf"}, "login_timeout must be above 0"),
        ("resilience4j", {"instances": ["nowhere"]}, "not http(s)://host"),
        ("haproxy_breaker", {"breakers": ["app; disable"]}, "is not a name of HAProxy"),
        ("flagd", {"flags": ["checkout"]}, "flags"),
        ("flagd", {"poll_interval": 0}, "poll_interval and timeout must be a number of seconds"),
        (
            "flagd",
            {"poll_interval": "nan"},
            "poll_interval and timeout must be a number of seconds",
        ),
        ("launchdarkly", {"flags": {"checkout": 7}}, "takes a value like true"),
        ("unleash", {"url": "nowhere"}, "url must be http"),
        ("unleash", {"timeout": "nan"}, "poll_interval and timeout must be a number of seconds"),
        ("nginx", {"url": "nowhere"}, "is not a URL"),
        ("nginx", {"timeout": "soon"}, "timeout"),
        ("nginx", {"timeout": "nan"}, "timeout must be a number of seconds"),
        ("nginx", {"retry_after": "later"}, "retry_after"),
        ("haproxy", {"state": "switched", "servers": "blue"}, "servers"),
        ("haproxy", {"state": "switched", "servers": {"blue": "off"}}, "none of ready"),
        ("lock_redis", {"login_timeout": "nan"}, "login_timeout must be above 0"),
        ("lock_file", {"ttl": "nan"}, "ttl must be more than 0 s"),
        ("lock_file", {"ttl": "soon"}, "ttl"),
        ("lock_file", {"token": "x"}, "token"),
    ],
    "bad regular expression": [
        ("gate", _check(log={"path": "/dev/null", "pattern": "("}), "not a valid regular"),
        ("gate", _check(command={"argv": ["true"], "stdout": "("}), "not a valid regular"),
        (
            "gate",
            _check(http={"url": _NO_URL, "response_headers": {"A": "("}}),
            "not a valid regular",
        ),
        (
            "gate",
            _check(metrics={"url": _NO_URL, "metric": "m", "labels": {"a": "("}, "max": 1}),
            "not a valid regular",
        ),
    ],
    "unreachable server": [
        ("gate", _check(http={"url": _NO_URL}), "refuses connections: nothing listens there"),
        ("gate", _check(postgres={**_NOBODY}), "refused"),
        ("gate", _check(redis={**_NOBODY}), "does not accept connections"),
        ("cache", _NOBODY, "does not accept connections"),
        ("pybreaker", _NOBODY, "does not accept connections"),
        ("resilience4j", {"instances": [_NO_URL]}, "No instance answers"),
        ("haproxy_breaker", {"haproxy_socket": "/no/socket"}, "cannot be used"),
        ("unleash", {"url": _NO_URL}, "cannot be asked"),
        ("nginx", {"url": _NO_URL}, "no answer"),
        ("nginx", {"binary": "/no/nginx"}, "cannot be run"),
        ("haproxy", {"haproxy_socket": "/no/socket"}, "cannot be used"),
        ("lock_redis", _NOBODY, "does not accept connections"),
        ("lock_postgres", _NOBODY, "cannot connect"),
    ],
    "wrong password": [
        ("cache", _WRONG_PASSWORD, "refused the password"),
        ("cache", {"login_password": None}, "wants a password"),
        ("cache", {"login_user": "bob"}, "of user 'bob'"),
        ("pybreaker", _WRONG_PASSWORD, "refused the password"),
        ("resilience4j", {"bearer_token": SECRET + "2"}, "HTTP status 401"),
        ("unleash", {"api_token": SECRET}, "token is not accepted"),
        ("nginx", {"url": "http://ann:pw@127.0.0.1/"}, "without a login"),
        ("lock_redis", _WRONG_PASSWORD, "refused the password"),
        ("lock_postgres", _WRONG_PASSWORD, "password authentication failed"),
    ],
    "TLS mismatch": [
        ("gate", lambda place: _check(http={"url": _https(place)}), "TLS"),
        ("gate", _as_tls_server, "TLS"),
        ("cache", {"tls": True}, "TLS"),
        ("cache", {"ca_certs": "/ca.pem"}, "tls is false"),
        ("cache", {"tls": True, "ca_certs": "/no/ca.pem"}, "does not exist"),
        ("pybreaker", {"tls": True}, "TLS"),
        ("resilience4j", _as_https("instances"), "No instance answers"),
        ("unleash", _as_https("url"), "cannot be asked"),
        ("nginx", _as_https("url"), "no answer"),
        ("haproxy", _as_https("url"), "no answer"),
        ("lock_redis", {"tls": True}, "TLS"),
        ("lock_postgres", {"ssl_mode": "require"}, "SSL"),
        ("lock_postgres", {"ssl_mode": "verify-full", "ca_cert": "/no/ca.pem"}, "SSL was required"),
    ],
    "file that is no such file": [
        ("gate", _check(log={"path": "/no/log", "pattern": "x"}), "/no/log"),
        ("gate", _check(tls=_NO_CERTIFICATE), "cannot be read: No such file"),
        ("cache", {"restore_point": "/no/folder/x"}, "No such file"),
        ("flagd", {"path": "/no/flags.json"}, "its folder cannot be opened"),
        ("launchdarkly", {"path": "/tmp/no/flags.json"}, "its folder cannot be opened"),
        ("nginx", {"maintenance_path": "/no/folder/x"}, "cannot be written"),
        ("haproxy", {"server_state_path": "/no/folder/x"}, "cannot be written"),
        ("lock_file", {"path": "/proc/no/locks"}, "cannot be kept in"),
    ],
}


def _params() -> list[Any]:
    return [
        pytest.param(place, wrong, words, id=f"{mistake}-{place}-{words.replace('/', ' ')}")
        for mistake, cases in _CASES.items()
        for place, wrong, words in cases
    ]


@pytest.mark.parametrize(("place", "wrong", "words"), _params(), indirect=["place"])
def test_mistake_gets_one_clear_message_and_nothing_is_changed(
    run_module: RunModule, place: Place, wrong: Wrong, words: str
) -> None:
    given = {**place.options, **(wrong(place) if callable(wrong) else wrong)}
    before = place.seen(), sorted(place.folder.rglob("*"))

    result = run_module(place.module, {k: v for k, v in given.items() if v is not None})

    _assert_refused(result, words)
    assert (place.seen(), sorted(place.folder.rglob("*"))) == before


def _assert_refused(result: dict[str, Any], words: str) -> None:
    assert result["failed"]
    assert not result.get("changed")
    assert words in result["msg"]
    assert "Traceback" not in result["msg"]
    told = json.dumps({**result, "exception": ""})
    for secret in (SECRET, json.dumps(SECRET)[1:-1], ADMIN, CLIENT):
        assert secret not in told


@pytest.mark.parametrize(
    ("place", "what", "words"),
    [
        pytest.param("cache", "folder", "cannot be written", id="cache-restore point"),
        pytest.param("flagd", "file", "cannot be written", id="flagd-file"),
        pytest.param("flagd", "folder", "cannot be written", id="flagd-folder"),
        pytest.param("launchdarkly", "file", "cannot be written", id="launchdarkly-file"),
        pytest.param("unleash", "folder", "cannot be written", id="unleash-restore point"),
        pytest.param("nginx", "file", "cannot be written", id="nginx-file"),
        pytest.param("nginx", "folder", "cannot be written", id="nginx-folder"),
        pytest.param("haproxy", "file", "cannot be written", id="haproxy-state file"),
        pytest.param("lock_file", "folder", "cannot be kept in", id="lock-folder"),
    ],
    indirect=["place"],
)
def test_what_is_read_only_is_named_and_nothing_is_changed(
    run_module: RunModule, place: Place, what: str, words: str
) -> None:
    locked = place.files if what == "file" else [place.folder]
    before = place.seen(), sorted(place.folder.rglob("*"))

    with read_only(*locked):
        result = run_module(place.module, place.options)

    _assert_refused(result, words)
    assert any(str(path) in result["msg"] for path in [*locked, place.folder])
    assert (place.seen(), sorted(place.folder.rglob("*"))) == before
