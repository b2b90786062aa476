"""Metrics without a Prometheus server: the page, counters across restarts, histograms."""

from __future__ import annotations

import collections
import math
from typing import Any

import prometheus_client
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client.openmetrics.exposition import generate_latest as openmetrics

from ansible_collections.sre.rollback.plugins.module_utils._probes.base import (
    ProbeInconclusiveError,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.exposition import (
    Selector,
    parse_page,
)
from ansible_collections.sre.rollback.plugins.module_utils._probes.metrics import (
    NoValueError,
    Scrape,
    calculation,
    forget,
)

DEFAULTS = {"labels": {}, "function": "value", "window": 60.0, "quantile": 0.95, "per": None}


def history(*pages: str) -> list[Scrape]:
    return [Scrape(float(at * 10), parse_page(page)) for at, page in enumerate(pages)]


def calculate(pages: list[str], **options: Any) -> float:
    return calculation({**DEFAULTS, **options})(history(*pages))


def test_page_of_the_official_client_is_read_in_both_formats() -> None:
    registry = prometheus_client.CollectorRegistry()
    counter = prometheus_client.Counter("shop_requests", "n", ["path", "code"], registry=registry)
    counter.labels('/a"b\\c\nd', "200").inc(3)
    counter.labels("/x}y", "500").inc(1)
    prometheus_client.Gauge("temperature", "t", registry=registry).set(-1.5e-3)
    seconds = prometheus_client.Histogram("seconds", "s", registry=registry)
    seconds.observe(0.3, exemplar={"trace": "abc"})
    for text in (prometheus_client.generate_latest(registry), openmetrics(registry)):
        page = parse_page(text.decode())
        requests = page.series["shop_requests_total"]
        assert requests[frozenset({("path", '/a"b\\c\nd'), ("code", "200")})] == 3
        assert requests[frozenset({("path", "/x}y"), ("code", "500")})] == 1
        assert page.series["temperature"][frozenset()] == -0.0015
        assert page.series["seconds_bucket"][frozenset({("le", "+Inf")})] == 1
        assert page.knows("shop_requests_total")


def test_page_with_a_declared_counter_that_never_counted_knows_it() -> None:
    registry = prometheus_client.CollectorRegistry()
    prometheus_client.Counter("errors", "n", ["code"], registry=registry)
    for text in (prometheus_client.generate_latest(registry), openmetrics(registry)):
        assert parse_page(text.decode()).knows("errors_total")


@pytest.mark.parametrize("text", ["", "<html>nope</html>", "a{b=} 1", "a b", "a{b='c'} 1"])
def test_page_that_is_none_is_inconclusive(text: str) -> None:
    with pytest.raises(ProbeInconclusiveError):
        parse_page(text)


@settings(max_examples=200, derandomize=True, deadline=None)
@given(
    st.dictionaries(st.sampled_from(["a", "b_c", "le"]), st.text(max_size=8), max_size=3),
    st.floats(),
)
def test_page_gives_back_every_label_and_value(labels: dict[str, str], value: float) -> None:
    def quoted(text: str) -> str:
        return text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")

    pairs = ",".join(f'{name}="{quoted(text)}"' for name, text in labels.items())
    page = parse_page(f"m{{{pairs}}} {value}\n")
    ((found, number),) = page.series["m"].items()
    assert dict(found) == labels
    assert number == value or (math.isnan(number) and math.isnan(value))


def test_value_is_the_sum_of_the_series_that_match() -> None:
    page = 'up{job="a",i="1"} 1\nup{job="a",i="2"} 0.5\nup{job="b"} 7\n'
    assert calculate([page], metric="up", labels={"job": "a"}) == 1.5
    assert calculate([page], metric="up", labels={"job": "a|b"}) == 8.5


@pytest.mark.parametrize(
    ("metric", "labels"), [("down", {}), ("up", {"job": "c"}), ("up", {"job": "a.+"})]
)
def test_value_without_a_matching_series_is_no_data(metric: str, labels: dict[str, str]) -> None:
    with pytest.raises(NoValueError, match="no such series"):
        calculate(['up{job="a"} 1\n'], metric=metric, labels=labels)


@pytest.mark.parametrize("value", ["NaN", "+Inf"])
def test_value_that_is_no_finite_number_is_nan(value: str) -> None:
    assert math.isnan(calculate([f'up 1\nup{{a="b"}} {value}\n'], metric="up"))


def test_increase_of_the_first_scrape_is_inconclusive() -> None:
    with pytest.raises(ProbeInconclusiveError, match="first scrape"):
        calculate(["n 5\n"], metric="n", function="increase")


@pytest.mark.parametrize(
    ("pages", "grown"),
    [
        pytest.param(["n 5\n", "n 8\n"], 3, id="grown"),
        pytest.param(["n 5\n", "n 5\n"], 0, id="stood still"),
        pytest.param(["n 5\n", "n 8\n", "n 2\n", "n 3\n"], 6, id="restarted in between"),
        pytest.param(['n{c="1"} 5\n', 'n{c="1"} 5\nn{c="2"} 4\n'], 4, id="a new series"),
        pytest.param(["# TYPE n counter\n", "n 4\n"], 4, id="the first series at all"),
    ],
)
def test_increase_follows_counters_across_restarts(pages: list[str], grown: float) -> None:
    assert calculate(pages, metric="n", function="increase") == grown
    seconds = 10 * (len(pages) - 1)
    assert calculate(pages, metric="n", function="rate") == grown / seconds


ERRORS = {"metric": "n", "labels": {"code": "5.."}, "function": "increase"}


def test_increase_per_another_metric_is_a_share() -> None:
    pages = [
        'n{code="200"} 100\nn{code="500"} 0\n',
        'n{code="200"} 190\nn{code="500"} 10\n',
    ]
    assert calculate(pages, **ERRORS, per={"metric": "n", "labels": {}}) == 0.1


def test_increase_of_errors_that_never_happened_is_zero() -> None:
    pages = ['n{code="200"} 100\n', 'n{code="200"} 200\n']
    assert calculate(pages, **ERRORS, per={"metric": "n", "labels": {}}) == 0.0


@pytest.mark.parametrize(
    ("metric", "labels"),
    [("m", {"code": "5.."}), ("n", {"cod": "5.."})],
    ids=["metric misspelt", "label misspelt"],
)
def test_increase_of_what_the_service_does_not_know_is_no_data(
    metric: str, labels: dict[str, str]
) -> None:
    pages = ['n{code="200"} 100\n', 'n{code="200"} 200\n']
    with pytest.raises(NoValueError, match="no such series"):
        calculate(pages, metric=metric, labels=labels, function="increase")


def test_increase_of_a_counter_without_any_series_yet_is_zero() -> None:
    pages = ["# TYPE n counter\n"] * 2
    assert calculate(pages, **ERRORS) == 0.0


def test_increase_per_a_metric_that_stood_still_is_no_data() -> None:
    pages = ['n{code="200"} 100\nn{code="500"} 1\n'] * 2
    with pytest.raises(NoValueError, match="divide by"):
        calculate(pages, **ERRORS, per={"metric": "n", "labels": {}})


def buckets(*counts: int) -> str:
    bounds = ["0.1", "0.5", "1", "+Inf"]
    lines = [f's_bucket{{le="{le}"}} {count}' for le, count in zip(bounds, counts, strict=True)]
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize(
    ("counts", "share", "expected"),
    [
        ((100, 100, 100, 100), 0.95, 0.095),
        ((0, 100, 100, 100), 0.5, 0.3),
        ((90, 100, 100, 100), 0.95, 0.3),
        ((0, 0, 0, 100), 0.5, math.inf),
        ((50, 50, 90, 100), 0.95, math.inf),
    ],
)
def test_quantile_is_linear_within_its_bucket(
    counts: tuple[int, ...], share: float, expected: float
) -> None:
    pages = [buckets(0, 0, 0, 0), buckets(*counts)]
    found = calculate(pages, metric="s", function="quantile", quantile=share)
    assert found == pytest.approx(expected)


def test_quantile_looks_at_the_window_only_and_not_at_old_observations() -> None:
    pages = [buckets(0, 0, 0, 1000), buckets(100, 100, 100, 1100)]
    assert calculate(pages, metric="s", function="quantile") == pytest.approx(0.095)


def test_quantile_of_nothing_is_no_data() -> None:
    with pytest.raises(NoValueError, match="nothing was counted"):
        calculate([buckets(1, 1, 1, 1)] * 2, metric="s", function="quantile")


def test_forget_keeps_one_scrape_at_the_beginning_of_the_window() -> None:
    scrapes = collections.deque(history(*["n 1\n"] * 10))
    forget(scrapes, 25.0)
    assert [scrape.at for scrape in scrapes] == [60.0, 70.0, 80.0, 90.0]
    forget(scrapes, 1.0)
    assert [scrape.at for scrape in scrapes] == [80.0, 90.0]


@pytest.mark.parametrize(
    ("labels", "expected"),
    [({}, 2), ({"a": "1"}, 1), ({"b": ""}, 1), ({"b": ".+"}, 1), ({"c": ".*"}, 2)],
)
def test_selector_takes_a_missing_label_for_an_empty_one(
    labels: dict[str, str], expected: int
) -> None:
    page = parse_page('m{a="1"} 1\nm{a="2",b="x"} 1\n')
    assert len(Selector.of("m", labels).select(page)) == expected
