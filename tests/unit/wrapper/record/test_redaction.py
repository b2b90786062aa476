"""No secret and no personal data passes, and nothing else is lost."""

from __future__ import annotations

import base64
import html
import json
from typing import Any
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rollback_playbook.record.redaction import Redactor, patterns
from rollback_playbook.record.redaction.names import kind_of_key
from rollback_playbook.record.redaction.personal import is_card

_redactor = Redactor()
_SECRET = "[redacted:secret]"

# Put together here so that no scanner takes them for real ones.
_AWS_ID = "AKIA" + "IOSFODNN7EXAMPLE"
_GITHUB = "ghp_" + "a1B2" * 9
_JWT = "eyJhbGciOiJIUzI1NiJ9" + "." + "eyJzdWIiOiIxMjM0NTY3ODkwIn0" + "." + "dozjgNryP4J3jVmN"
_PEM = "-----BEGIN RSA PRIVATE KEY-----\nMIIEow\n-----END RSA PRIVATE KEY-----"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        pytest.param(
            "postgres://shop:hunter2@db1:5432/shop",
            "postgres://[redacted:url-credentials]@db1:5432/shop",
            id="url",
        ),
        pytest.param(
            "redis://:p%40ss@cache:6379/0 failed",
            "redis://[redacted:url-credentials]@cache:6379/0 failed",
            id="url-without-user",
        ),
        pytest.param(
            "amqp://u:p/w@mq", "amqp://[redacted:url-credentials]@mq", id="slash-in-password"
        ),
        pytest.param(
            f"https://{_GITHUB}@github.com/x/y",
            "https://[redacted:url-credentials]@github.com/x/y",
            id="token-as-user",
        ),
        pytest.param("password=hunter2 port=1", "password=[redacted:password] port=1", id="dsn"),
        pytest.param("password = 'a b'", "password = '[redacted:password]'", id="quoted"),
        pytest.param('{"Password": "a b"}', '{"Password": "[redacted:password]"}', id="json"),
        pytest.param(
            '{\\"password\\": \\"a b\\", \\"x\\": 1}',
            '{\\"password\\": [redacted:password], \\"x\\": 1}',
            id="json-in-json",
        ),
        pytest.param("{'api_key': 'abc'}", "{'api_key': '[redacted:api-key]'}", id="python"),
        pytest.param("PGPASSWORD=hunter2 psql", "PGPASSWORD=[redacted:password] psql", id="shell"),
        pytest.param("DB_PASSWORD: 12345", "DB_PASSWORD: [redacted:password]", id="number"),
        pytest.param(
            "mysql --password hunter2 -h db",
            "mysql --password [redacted:password] -h db",
            id="option",
        ),
        pytest.param("--api-key=abc123 go", "--api-key=[redacted:api-key] go", id="option-equals"),
        pytest.param(
            "Authorization: Bearer abc.def", "Authorization: [redacted:authorization]", id="bearer"
        ),
        pytest.param(
            "curl -H 'authorization: Basic dTpw' x",
            "curl -H 'authorization: [redacted:authorization]' x",
            id="basic",
        ),
        pytest.param(
            "sent Bearer abcdef0123456", "sent Bearer [redacted:authorization]", id="bare-bearer"
        ),
        pytest.param(
            "Set-Cookie: sid=abc; Path=/; id=2", "Set-Cookie: [redacted:cookie]", id="cookie"
        ),
        pytest.param(f"x {_PEM} y", "x [redacted:pem] y", id="pem"),
        pytest.param(f"x {_PEM[:50]}", "x [redacted:pem]", id="cut-pem"),
        pytest.param(_PEM.replace("\n", "\\n"), "[redacted:pem]", id="pem-with-escaped-newlines"),
        pytest.param(f"id {_AWS_ID}.", "id [redacted:aws-key].", id="aws"),
        pytest.param(f"{_GITHUB} ok", "[redacted:token] ok", id="github"),
        pytest.param(f"jwt {_JWT}", "jwt [redacted:token]", id="jwt"),
        pytest.param(
            "https://hooks.slack.com/services/T0/B0/xyz",
            "https://hooks.slack.com/services/[redacted:webhook]",
            id="slack",
        ),
        pytest.param(
            "GET /f?x=1&sig=abc%2F&y=2", "GET /f?x=1&sig=[redacted:url-signature]&y=2", id="query"
        ),
        pytest.param("GET /f?token=abc&y=2", "GET /f?token=[redacted:token]&y=2", id="query-token"),
        pytest.param("to sam.doe+x@example.co.uk now", "to [redacted:email] now", id="mail"),
        pytest.param("<müller@exämple.de>", "<[redacted:email]>", id="unicode-mail"),
        pytest.param("a@b.org,c@d.org", "[redacted:email],[redacted:email]", id="mails"),
        pytest.param("card 4111 1111 1111 1111.", "card [redacted:card].", id="card"),
        pytest.param("5500-0055-5555-5559", "[redacted:card]", id="card-hyphens"),
        pytest.param("378282246310005", "[redacted:card]", id="amex"),
        pytest.param("3782 822463 10005", "[redacted:card]", id="amex-groups"),
        pytest.param("order 12 4111 1111 1111 1111", "order 12 [redacted:card]", id="card-after"),
        pytest.param('{"n":4111111111111111}', '{"n":[redacted:card]}', id="card-in-json"),
        pytest.param("phone:1-800-555-1234", "phone:[redacted:phone]", id="toll-free"),
        pytest.param("call +49 171 2345678", "call [redacted:phone]", id="phone"),
        pytest.param("+1 (555) 123-4567", "[redacted:phone]", id="phone-us"),
        pytest.param("(555) 123-4567, ok", "[redacted:phone], ok", id="phone-national"),
        pytest.param("tel:555-123-4567", "tel:[redacted:phone]", id="phone-tel"),
        pytest.param(
            "$ANSIBLE_VAULT;1.1;AES256\n3132\n3334\n", "[redacted:vault]", id="vault"
        ),
    ],
)  # fmt: skip
def test_redactor_marks_what_was_removed_with_its_kind(text: str, redacted: str) -> None:
    assert _redactor.text(text) == redacted
    assert _redactor.data({"stdout": text}) == {"stdout": redacted}


@pytest.mark.parametrize(
    "text",
    [
        "2026-11-22T03:12:45.123456+00:00",
        "2026-11-22 03:12:45.123456",
        "20261122031245",
        "1763781165123",
        "1763781165123456789",
        "4012888888881881a",
        "sha256:" + "4" * 64,
        "8039fc99-6d11-4792-a6aa-5063db028430",
        "41111111-1111-4111-8111-111111111111",
        "0/16B3748",
        "16/B374D848 timeline 4",
        "v1.2.3-rc.1+20240101.5",
        "PostgreSQL 18.6 on x86_64-pc-linux-gnu",
        "127.0.0.1:54321",
        "192.168.100.200",
        "fe80::1ff:fe23:4567:890a",
        "00:1a:2b:3c:4d:5e",
        "listening on port 15432, pid 123456",
        "pg_dump: dumped 1234567890 bytes in 12.345678 s",
        "/var/lib/backups/2026-11-22T03-12-45Z-full-lab-3f2a/toc.dat",
        "token_count=5 max_tokens: 4096",
        "token expired",
        "no password supplied",
        "password authentication failed for user shop",
        "unexpected token: }",
        "secret_name: db-credentials",
        "getty@tty1.service",
        "git@github.com:owner/name.git",
        "repo@sha256:abcdef",
        "https://registry.example.org:4873/@scope/pkg",
        "http://user.example.org:8080/path?a=b@c",
        "10 of 200 requests failed (5.00 %)",
        "0.0021 0.0048 0.0048",
        "ok=5 changed=3 unreachable=0 failed=1",
        "bearer authentication is required",
        "passed",
        "the key was rotated",
        "555 123 4567",
        "1-800 rows",
        "[redacted:password]",
        "x=[redacted:email]",
    ],
)
def test_redactor_leaves_facts_alone(text: str) -> None:
    assert _redactor.text(text) == text
    assert _redactor.data({"msg": text}) == {"msg": text}


@pytest.mark.parametrize(
    ("key", "kind"),
    [
        ("password", "password"),
        ("login_password", "password"),
        ("loginPassword", "password"),
        ("PGPASSWORD", "password"),
        ("client-secret", "secret"),
        ("X-Auth-Token", "token"),
        ("Authorization", "authorization"),
        ("apiKey", "api-key"),
        ("api-key", "api-key"),
        ("aws_secret_access_key", "secret"),
        ("ssh_private_key", "private-key"),
        ("database_dsn", "dsn"),
        ("SENTRY_DSN", "dsn"),
        ("customer_email", "email"),
        ("phone", "phone"),
        ("pin", "password"),
        ("token_count", ""),
        ("max_token_age", ""),
        ("password_file", ""),
        ("secret_name", ""),
        ("passed", ""),
        ("monkey", ""),
        ("key", ""),
        ("pinned", ""),
        ("state", ""),
        ("", ""),
    ],
)
def test_kind_of_key_tells_secrets_from_what_is_about_them(key: str, kind: str) -> None:
    assert kind_of_key(key) == kind


@pytest.mark.parametrize(
    ("data", "redacted"),
    [
        pytest.param({"password": "x"}, {"password": "[redacted:password]"}, id="text"),
        pytest.param({"password": 1234}, {"password": "[redacted:password]"}, id="number"),
        pytest.param({"token": 7}, {"token": 7}, id="fencing-token"),
        pytest.param({"password": None}, {"password": None}, id="none"),
        pytest.param({"password": ""}, {"password": ""}, id="empty"),
        pytest.param({"secret": True}, {"secret": True}, id="flag"),
        pytest.param(
            {"secrets": {"a": ["x", {"b": "y"}]}},
            {"secrets": {"a": ["[redacted:secret]", {"b": "[redacted:secret]"}]}},
            id="below",
        ),
        pytest.param(
            {"cmd": ["mysql", "--password", "hunter2", "-e", "x"]},
            {"cmd": ["mysql", "--password", "[redacted:password]", "-e", "x"]},
            id="argv",
        ),
        pytest.param({"n": 4111111111111111}, {"n": "[redacted:card]"}, id="card-as-number"),
        pytest.param({"order_id": 4111111111111111}, {"order_id": 4111111111111111}, id="id"),
        pytest.param({"id": "4111 1111 1111 1111"}, {"id": "[redacted:card]"}, id="no-id"),
        pytest.param({"bytes": "4111111111111111"}, {"bytes": "4111111111111111"}, id="measure"),
        pytest.param(
            {"rows": [{"who": "sam@x.org"}]}, {"rows": [{"who": "[redacted:email]"}]}, id="row"
        ),
        pytest.param({"sam@example.org": 1}, {"[redacted:email]": 1}, id="in-a-key"),
        pytest.param(
            {"a@x.org": 1, "b@x.org": 2},
            {"[redacted:email]": 1, "[redacted:email] 2": 2},
            id="keys-that-become-the-same",
        ),
        pytest.param({"x": float("nan")}, {"x": "NaN"}, id="not-a-number"),
        pytest.param(
            {"password": "[redacted:password]"}, {"password": "[redacted:password]"}, id="again"
        ),
    ],
)  # fmt: skip
def test_redactor_redacts_data_at_every_depth(data: dict[str, Any], redacted: Any) -> None:
    assert _redactor.data(data) == redacted


_SECRETS = st.text(min_size=4, max_size=30).filter(lambda s: s.strip() and not s.isalpha())
_FORMS = (
    str,
    lambda s: json.dumps(s),
    lambda s: json.dumps(s, ensure_ascii=False),
    lambda s: json.dumps(json.dumps(s)),
    lambda s: repr(s),
    lambda s: html.escape(s),
    lambda s: quote(s, errors="replace"),
    lambda s: quote(s, safe="", errors="replace"),
    lambda s: quote_plus(s, errors="replace"),
)


@given(secret=_SECRETS, form=st.sampled_from(_FORMS), before=st.text(), after=st.text())
@settings(max_examples=100)
def test_redactor_finds_known_secrets_in_every_form(
    secret: str, form: Any, before: str, after: str
) -> None:
    redactor = Redactor([secret])
    shown = form(secret)
    assume(shown.strip("\"'") not in before + after)
    assert shown.strip("\"'") not in redactor.text(f"{before}{shown}{after}")
    data = redactor.data({"stdout": f"{before}{shown}{after}", "list": [{"x": shown}]})
    assert "[redacted:" in data["list"][0]["x"]


@given(
    secret=st.text(st.characters(codec="ascii", min_codepoint=33), min_size=9, max_size=30),
    before=st.text(st.characters(codec="ascii", min_codepoint=33), max_size=9),
)
@settings(max_examples=80)
def test_redactor_finds_known_secrets_within_base64(secret: str, before: str) -> None:
    """As in the header of HTTP basic authentication."""
    redactor = Redactor([secret])
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        shown = encode(f"{before}{secret}:x".encode()).decode()
        assert "[redacted:secret]" in redactor.text(f"got {shown}")


@pytest.mark.parametrize(
    ("secret", "data", "redacted"),
    [
        pytest.param("x7", {"a": "x7", "b": "x7y"}, {"a": _SECRET, "b": "x7y"}, id="short"),
        pytest.param("17", {"a": 17, "b": 170}, {"a": _SECRET, "b": 170}, id="short-number"),
        pytest.param("48151623", {"a": 48151623}, {"a": "[redacted:secret]"}, id="number"),
        pytest.param("true", {"a": True, "b": "true"}, {"a": True, "b": "true"}, id="common-word"),
        pytest.param(
            "line one of it\nline two of it",
            {"a": "x\n line two of it\n"},
            {"a": "x\n [redacted:secret]\n"},
            id="one-line-of-many",
        ),
        pytest.param("", {"a": ""}, {"a": ""}, id="empty"),
    ],
)  # fmt: skip
def test_redactor_treats_known_secrets_by_their_length(
    secret: str, data: dict[str, Any], redacted: dict[str, Any]
) -> None:
    assert Redactor([secret]).data(data) == redacted


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_PARTS = st.sampled_from(
    [
        "password", "=", ": ", '"', "'", "\\", "token", "secret", "://", "@", "a.org", "u:p",
        "Bearer ", "Authorization", "[redacted:", "]", "--", " ", "\n", "4111111111111111", "+",
        "49 171 2345678", "(555) 123-4567", "eyJ", "-----BEGIN X-----", "hunter22", "?sig=", "&",
    ]
)  # fmt: skip


@given(st.dictionaries(st.text() | _PARTS, _JSON | st.lists(_PARTS).map("".join), max_size=5))
@settings(max_examples=80)
def test_redactor_changes_nothing_more_the_second_time(data: dict[str, Any]) -> None:
    redactor = Redactor(["hunter22"])
    once = redactor.data(data)
    assert redactor.data(once) == once
    assert Redactor(["hunter22"]).data(once) == once


@given(st.lists(st.dictionaries(st.text() | _PARTS, st.lists(_PARTS).map("".join)), max_size=5))
@settings(max_examples=60)
def test_redactor_gives_the_same_whatever_it_has_seen_before(seen: list[dict[str, Any]]) -> None:
    """What it remembers as clean makes it faster and nothing else."""
    used = Redactor(["hunter22"])
    for each in seen:
        used.data(each)
    assert [used.data(each) for each in seen] == [Redactor(["hunter22"]).data(e) for e in seen]


def test_hints_of_secrets_all_have_a_part_by_which_they_are_looked_for() -> None:
    hints, parts = patterns._ALL_HINTS, (*patterns._PARTS, *patterns._PARTS_BESIDE_SEPARATORS)
    assert [hint for hint in hints if not any(part in hint for part in parts)] == []


@given(st.lists(_PARTS | st.text(max_size=3), max_size=8).map("".join))
@settings(max_examples=100)
def test_has_secrets_is_true_whenever_a_rule_would_change_something(text: str) -> None:
    if patterns.without_secrets(text) != text:
        assert patterns.has_secrets(text)


@given(_JSON)
@settings(max_examples=100)
def test_redactor_encodes_what_it_returns(value: Any) -> None:
    data, encoded = _redactor.encoded({"value": value})
    assert json.loads(encoded) == data


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("a" * 200_000, id="one-word"),
        pytest.param("a" * 100_000 + "@", id="word-before-at"),
        pytest.param("@" * 100_000, id="ats"),
        pytest.param(("a" * 63 + "@") * 2_000, id="local-parts"),
        pytest.param("a@" + "b." * 50_000, id="domain"),
        pytest.param("password=" * 20_000, id="names"),
        pytest.param('password="' * 20_000, id="open-quotes"),
        pytest.param('password="\\' * 20_000, id="open-escapes"),
        pytest.param("password=\\\"" * 20_000, id="escaped-quotes"),
        pytest.param("://" * 50_000, id="urls"),
        pytest.param("://" + "a:" * 50_000, id="colons"),
        pytest.param("-----BEGIN A-----" * 10_000, id="pem-without-end"),
        pytest.param("4" * 150_000, id="digits"),
        pytest.param("4 " * 75_000, id="spaced-digits"),
        pytest.param("+4" * 75_000, id="plus-digits"),
        pytest.param("eyJ" + "a" * 150_000, id="token-start"),
        pytest.param("--a" * 50_000 + "token", id="options"),
        pytest.param("$ANSIBLE_VAULT;" * 10_000, id="vaults"),
        pytest.param("bearer " * 25_000, id="bearers"),
        pytest.param("authorization: basic " * 10_000, id="authorizations"),
    ],
)  # fmt: skip
def test_redactor_takes_time_in_proportion_to_the_length(text: str) -> None:
    """The time is not asserted: an expression that explodes would run into the test's timeout."""
    _redactor.text(text)


@pytest.mark.parametrize(
    ("number", "card"),
    [
        ("4111111111111111", True),
        ("4111111111111112", False),
        ("2223003122003222", True),
        ("1234567812345670", False),
        ("6011111111111117", True),
        ("30569309025904", True),
    ],
)
def test_is_card_wants_an_issuer_and_luhns_sum(number: str, card: bool) -> None:
    assert is_card(number) is card


def test_redactor_of_an_enormous_event_is_bounded_in_what_it_remembers() -> None:
    redactor = Redactor()
    for number in range(30_000):
        redactor.data({f"k{number}": f"v{number}"})
    assert redactor.remembered <= 40_000
