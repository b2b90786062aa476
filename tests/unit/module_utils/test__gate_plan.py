"""What health_gate refuses before it probes anything, and what it makes of defaults."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.sre.rollback.plugins.module_utils._errors import RollbackError
from ansible_collections.sre.rollback.plugins.module_utils._gate_plan import (
    Plan,
    gate_argument_spec,
    plan_gate,
)
from ansible_collections.sre.rollback.plugins.module_utils._gate_shapes import (
    without_wrong_shapes,
    wrong_shapes,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.registry import KINDS

TCP = {"tcp": {"host": "127.0.0.1", "port": 1}}


def plan(*checks: dict[str, Any], **options: Any) -> Plan:
    """The plan of a gate with these checks, as the module would read them."""
    given_checks = [{"name": f"check {place}", **check} for place, check in enumerate(checks)]
    spec, params = gate_argument_spec(), {"checks": given_checks, **options}
    complaints = wrong_shapes(params, spec)
    result = ArgumentSpecValidator(spec).validate(without_wrong_shapes(params, spec))
    if complaints or result.error_messages:
        raise RollbackError("; ".join(complaints or result.error_messages))
    return plan_gate(result.validated_parameters, started_epoch=1e9)


@pytest.mark.parametrize(
    ("checks", "options", "words"),
    [
        pytest.param([], {}, "checks is empty", id="no checks"),
        pytest.param([{}], {}, "one of the following is required", id="no kind"),
        pytest.param(
            [{"grpc": {}}],
            {},
            r"checks\[0\].grpc is not known. Known are: command",
            id="unknown kind",
        ),
        pytest.param([{"tcp": "x"}], {}, "tcp", id="text for options"),
        pytest.param(
            [{"tcp": False}],
            {},
            r"checks\[0\].tcp must be a dictionary, not a value of type bool",
            id="bool for options",
        ),
        pytest.param(
            [{**TCP, "http": {"url": "http://a"}}], {}, "mutually exclusive", id="two kinds"
        ),
        pytest.param(
            [{**TCP, "name": "x"}, {**TCP, "name": "x"}], {}, "same name: 'x'", id="same names"
        ),
        pytest.param([{**TCP, "name": " "}], {}, "empty name", id="empty name"),
        pytest.param([TCP], {"require": "most"}, "require must be all", id="require: a word"),
        pytest.param([TCP], {"require": "2"}, "from 1 to 1", id="require: more than there are"),
        pytest.param([TCP], {"require": "0"}, "from 1 to 1", id="require: none"),
        pytest.param([TCP], {"period": -1}, "period must be at least", id="negative period"),
        pytest.param([TCP], {"period": 0}, "period must be at least", id="no period"),
        pytest.param([TCP], {"timeout": 0}, "timeout must be above 0", id="no timeout"),
        pytest.param([TCP], {"hold": -1}, "hold must be at least 0", id="negative hold"),
        pytest.param([TCP], {"deadline": -5}, "deadline must be above 0", id="negative deadline"),
        pytest.param([TCP], {"deadline": "nan"}, "deadline must be above 0", id="NaN deadline"),
        pytest.param([TCP], {"deadline": "inf"}, "deadline must be above 0", id="no end"),
        pytest.param([TCP], {"deadline": "soon"}, "deadline", id="a deadline that is no number"),
        pytest.param([TCP], {"success_threshold": 0}, "from 1 to 1000", id="no successes"),
        pytest.param([TCP], {"failure_threshold": -1}, "from 0 to 1000", id="negative failures"),
        pytest.param([TCP], {"concurrency": 0}, "from 1 to 1000", id="no places"),
        pytest.param([TCP], {"deadline": 2}, "cannot be reached", id="threshold out of reach"),
        pytest.param(
            [TCP], {"deadline": 300, "hold": 300}, "needs 302 s at best", id="hold out of reach"
        ),
        pytest.param(
            [{**TCP, "deadline": 600}], {"deadline": 300}, "later than", id="check outlives gate"
        ),
        pytest.param([{**TCP, "period": -2}], {}, "'check 0': period", id="check's own period"),
    ],
)
def test_plan_of_what_cannot_work_is_refused(
    checks: list[dict[str, Any]], options: dict[str, Any], words: str
) -> None:
    with pytest.raises(RollbackError, match=words):
        plan(*checks, **options)


URL = "http://127.0.0.1:1/"


@pytest.mark.parametrize(
    ("check", "words"),
    [
        pytest.param({"http": {"url": "ftp://a/"}}, "must begin with http://", id="scheme"),
        pytest.param({"http": {"url": "http:///x"}}, "name a host", id="no host"),
        pytest.param({"http": {"url": "http://a:99999/"}}, "url is not valid", id="port"),
        pytest.param({"http": {"url": "http://a/b c"}}, "space", id="space"),
        pytest.param({"http": {"url": URL, "status": [99]}}, "status", id="status"),
        pytest.param({"http": {"url": URL, "status": []}}, "status", id="no status"),
        pytest.param({"http": {"url": URL, "text": "("}}, "text .* not a valid", id="expression"),
        pytest.param(
            {"http": {"url": URL, "response_headers": {"A": "["}}},
            r"response_headers\.A .* not a valid",
            id="expression for a header",
        ),
        pytest.param(
            {"http": {"url": URL, "headers": {"A": "b\r\nC: d"}}}, "line break", id="header"
        ),
        pytest.param({"http": {"url": URL, "headers": {"A b": "c"}}}, "name of a header", id="sp"),
        pytest.param({"http": {"url": URL, "max_latency": 0}}, "max_latency", id="latency"),
        pytest.param({"http": {"url": URL, "json": [{"path": "a..b"}]}}, "JSON path", id="path"),
        pytest.param(
            {"http": {"url": URL, "json": [{"path": "a", "min": 2, "max": 1}]}},
            "min 2 is above max 1",
            id="bounds",
        ),
        pytest.param(
            {"http": {"url": "https://a", "ca_cert": "/nonexistent"}}, "ca_cert", id="CA file"
        ),
        pytest.param(
            {"http": {"url": "https://a", "client_key": "/k"}}, "without client_cert", id="key"
        ),
        pytest.param({"tcp": {"host": "a b", "port": 1}}, "not a host", id="tcp host"),
        pytest.param({"tcp": {"host": "a", "port": 0}}, "not a port", id="tcp port"),
        pytest.param({"tcp": {"host": "a", "port": 1, "expect": "*"}}, "not a valid", id="expect"),
        pytest.param({"tls": {"port": 1}}, "one of the following", id="tls without host"),
        pytest.param({"tls": {"certificate": "/c"}}, "missing parameter", id="tls without key"),
        pytest.param({"tls": {"host": "a", "min_days_left": -1}}, "min_days_left", id="days"),
        pytest.param({"websocket": {"url": URL}}, "ws:// or wss://", id="websocket scheme"),
        pytest.param(
            {"websocket": {"url": "ws://a", "subprotocols": ["a b"]}}, "subprotocol", id="protocol"
        ),
        pytest.param({"postgres": {"query": "SELECT 1"}}, "query needs expected", id="query only"),
        pytest.param({"postgres": {"expected": 1}}, "they need query", id="expectation only"),
        pytest.param({"redis": {"ca_certs": "/x"}}, "tls is false", id="redis CA without tls"),
        pytest.param({"redis": {"login_port": 0}}, "not a port", id="redis port"),
        pytest.param({"prometheus": {"url": URL, "query": "up"}}, "min or max", id="no bound"),
        pytest.param(
            {"prometheus": {"url": URL, "query": " ", "min": 1}}, "query is empty", id="no query"
        ),
        pytest.param(
            {"prometheus": {"url": URL, "query": "up", "min": "nan"}}, "finite", id="NaN bound"
        ),
        pytest.param({"metrics": {"url": URL, "metric": "a"}}, "min or max", id="metrics bound"),
        pytest.param(
            {"metrics": {"url": URL, "metric": "a b", "min": 1}}, "name of a metric", id="metric"
        ),
        pytest.param(
            {"metrics": {"url": URL, "metric": "a", "min": 1, "labels": {"x": "("}}},
            "not a valid",
            id="label",
        ),
        pytest.param(
            {"metrics": {"url": URL, "metric": "a", "min": 1, "window": 0}}, "window", id="window"
        ),
        pytest.param(
            {"metrics": {"url": URL, "metric": "a", "min": 1, "quantile": 1}}, "quantile", id="q"
        ),
        pytest.param({"command": {"argv": []}}, "argv is empty", id="no command"),
        pytest.param({"command": {"argv": ["a"], "rc": []}}, "rc is empty", id="no exit code"),
        pytest.param({"command": {"argv": ["a"], "chdir": "/no"}}, "not a folder", id="chdir"),
        pytest.param({"container": {}}, "one of the following", id="no container"),
        pytest.param({"container": {"names": []}}, "is empty", id="empty names"),
        pytest.param(
            {"container": {"names": ["a"], "docker_host": "tcp://x"}}, "socket", id="docker host"
        ),
        pytest.param({"systemd": {"units": []}}, "units is empty", id="no units"),
        pytest.param({"systemd": {"units": ["--now"]}}, "name of a unit", id="option as unit"),
        pytest.param({"log": {"pattern": "x"}}, "one of the following", id="no log"),
        pytest.param({"log": {"path": "/l", "pattern": "("}}, "not a valid", id="log pattern"),
        pytest.param({"log": {"path": "/l", "pattern": "x", "since": -1}}, "since", id="since"),
        pytest.param(
            {"log": {"path": "/l", "pattern": "x", "min_matches": 2, "max_matches": 1}},
            "above max_matches",
            id="matches",
        ),
        pytest.param({"load": {"url": URL, "requests": 0}}, "requests must", id="no requests"),
        pytest.param({"load": {"url": URL, "at_once": 1000}}, "at_once must", id="too many"),
        pytest.param({"load": {"url": URL, "min_success": 95}}, "min_success", id="percent"),
        pytest.param({"load": {"url": URL, "max_p95": -1}}, "max_p95", id="p95"),
        pytest.param(
            {"isolation": {"url": URL, "users": [{"name": "a", "marker": "m"}]}},
            "at least two users",
            id="one user",
        ),
        pytest.param(
            {
                "isolation": {
                    "url": URL,
                    "users": [{"name": "a", "marker": "m"}, {"name": "b", "marker": "mm"}],
                }
            },
            "part of another user's",
            id="markers that contain each other",
        ),
    ],
)
def test_plan_with_bad_options_of_a_kind_is_refused_by_the_check_s_name(
    check: dict[str, Any], words: str
) -> None:
    with pytest.raises(RollbackError, match=words):
        plan(check)


def test_plan_refusal_does_not_repeat_a_password_in_the_url() -> None:
    with pytest.raises(RollbackError) as caught:
        plan({"http": {"url": "gopher://me:hunter22@host/"}})
    assert "hunter22" not in str(caught.value)


def test_plan_without_deadline_gives_the_slowest_check_and_the_hold_what_they_need() -> None:
    rules = plan(TCP, {**TCP, "deadline": 600}, hold=60).rules
    assert [check.deadline for check in rules.checks] == [300.0, 600.0]
    assert rules.deadline == rules.worst_case == 665.0


def test_plan_with_deadline_gives_it_to_every_check() -> None:
    rules = plan(TCP, {**TCP, "deadline": 10}, deadline=30).rules
    assert [check.deadline for check in rules.checks] == [30.0, 10.0]
    assert rules.worst_case == 30.0


def test_plan_check_overrides_the_gate_s_thresholds() -> None:
    own = {"success_threshold": 1, "failure_threshold": 7, "period": 2, "timeout": 9}
    first, second = plan({**TCP, **own}, TCP, success_threshold=5).rules.checks
    assert (first.success_threshold, first.failure_threshold) == (1, 7)
    assert (first.period, first.timeout) == (2.0, 9.0)
    assert (second.success_threshold, second.period, second.timeout) == (5, 1.0, 5.0)


@pytest.mark.parametrize(("require", "expected"), [("all", 3), ("any", 1), ("2", 2), (" ALL ", 3)])
def test_plan_require_is_a_word_or_a_number(require: str, expected: int) -> None:
    assert plan(TCP, TCP, TCP, require=require).rules.required == expected


def test_plan_with_an_overlong_expression_is_refused_in_words() -> None:
    with pytest.raises(RollbackError, match="not a valid regular expression"):
        plan({"http": {"url": URL, "text": "a{99999999999}"}})


SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(), st.text(max_size=5), st.just([])
)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.sampled_from(sorted(KINDS)),
    st.data(),
    st.dictionaries(
        st.sampled_from(["period", "timeout", "deadline", "hold", "require"]), SCALARS, max_size=2
    ),
)
def test_plan_of_anything_is_made_or_refused_but_never_breaks(
    kind: str, data: st.DataObject, options: dict[str, Any]
) -> None:
    names = st.sampled_from(sorted(KINDS[kind].options()))
    body = data.draw(st.dictionaries(names, SCALARS, max_size=4))
    try:
        made = plan({kind: body}, **options)
    except RollbackError:
        return
    assert made.rules.best_case < made.rules.worst_case
