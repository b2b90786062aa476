"""Scenarios that protect users at once: breakers and flags that containers really look at."""

from __future__ import annotations

import json
import statistics
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.compose.conftest import MakeEnvironment, MakeWholeShop
from tests.compose.images import docker
from tests.compose.whole_shop import WholeShop

pytestmark = pytest.mark.compose

#: Much less than whoever has to wait for a payment, or for a connection.
_AT_ONCE = 0.9
_OFTEN = 5


@pytest.fixture
def shop(make_whole_shop: MakeWholeShop) -> WholeShop:
    return make_whole_shop()


@contextmanager
def hanging(shop: WholeShop, service: str) -> Iterator[None]:
    """It takes connections and answers nobody."""
    (container,) = shop.stack.containers(service)[service]
    docker("pause", container)
    try:
        yield
    finally:
        docker("unpause", container)


@contextmanager
def crawler(shop: WholeShop, path: str, *, at_once: int = 12) -> Iterator[None]:
    """Somebody who asks for this page all the time."""
    stop = threading.Event()

    def crawl() -> None:
        while not stop.wait(0.02):
            shop.get(path)

    threads = [threading.Thread(target=crawl, daemon=True) for _ in range(at_once)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def often(shop: WholeShop, path: str) -> list[tuple[int, float]]:
    """By turns from both containers."""
    return [shop.takes(path) for _ in range(_OFTEN)]


def test_customers_need_not_wait_for_payments_that_hang_until_these_are_well_again(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    variables = {
        "payment_failure_breakers": ["payment"],
        "protect_recovery_watch": 1,
        "protect_recovery_period": 0.2,
    }
    operator = environment(shop.stack, **shop.variables(), **variables)
    assert shop.get("/buy")[0] == 200
    containers = shop.stack.containers()
    with hanging(shop, "payment"):
        status, seconds = shop.takes("/buy")
        assert (status, seconds > 3) == (502, True)

        done = operator.run("payment-failure", "--reason", "payments hang", "--yes")

        assert done.code == 0, done.output
        answers = often(shop, "/buy")
        assert {status for status, _ in answers} == {503}
        assert max(seconds for _, seconds in answers) < _AT_ONCE
        assert shop.get("/orders")[0] == 200

        again = operator.run("payment-failure", "--reason", "twice", "--yes")

        assert again.code == 0, again.output
        assert shop.get("/buy")[0] == 503
    # Whatever its own time-out says, an open breaker stays open.
    assert shop.get("/buy")[0] == 503

    recovered = operator.run("breaker-recovery", "--reason", "it answers", "--yes")

    assert recovered.code == 0, recovered.output
    assert {status for status, _ in often(shop, "/buy")} == {200}
    assert shop.stack.containers() == containers


def test_performance_regression_sheds_the_load_and_its_undo_brings_the_feature_back(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    url = f"http://127.0.0.1:{shop.stack.port}/orders"
    fast = {"name": "orders are fast", "http": {"url": url, "status": [200], "max_latency": 0.9}}
    operator = environment(
        shop.stack,
        **shop.variables(),
        performance_regression_flags={"recommendations": "off", "rate_limiting": "on"},
        performance_regression_checks=[fast],
    )
    containers = shop.stack.containers()

    with crawler(shop, "/recommendations"):
        deadline = time.monotonic() + 30
        while statistics.median(seconds for _, seconds in often(shop, "/orders")) < 1:
            assert time.monotonic() < deadline, "nobody has to wait"

        done = operator.run("performance-regression", "--reason", "slow", "--yes")

        assert done.code == 0, done.output
        answers = often(shop, "/orders")
        assert {status for status, _ in answers} == {200}
        assert statistics.median(seconds for _, seconds in answers) < _AT_ONCE, answers
        assert 429 in {status for status, _ in often(shop, "/recommendations")}
    assert shop.stack.containers() == containers

    undone = operator.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert shop.flag("recommendations") == "on"
    shop.wait_for(200, "/recommendations")


def test_feature_that_fails_is_off_in_every_container_and_the_others_stay_on(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    url = f"http://127.0.0.1:{shop.stack.port}/offers"
    operator = environment(
        shop.stack,
        **shop.variables(),
        feature_flags_safe={"offers": "off"},
        feature_flags_checks=[{"name": "offers answer", "http": {"url": url, "status": [200]}}],
    )
    path = shop.stack.folder / "flags" / "flags.json"
    before = json.loads(path.read_text())
    shop.stack.deploy(web="1.1.0")
    shop.wait_for(500, "/offers")
    containers = shop.stack.containers()

    done = operator.run("feature-flags", "--reason", "offers fail", "--yes")

    assert done.code == 0, done.output
    assert {status for status, _ in often(shop, "/offers")} == {200}
    assert shop.stack.containers() == containers
    before["flags"]["offers"]["defaultVariant"] = "off"
    assert json.loads(path.read_text()) == before

    kept = path.read_bytes()
    again = operator.run("feature-flags", "--reason", "twice", "--yes")

    assert again.code == 0, again.output
    assert path.read_bytes() == kept

    undone = operator.run("undo", done.incident, "--yes")

    assert undone.code == 0, undone.output
    assert shop.flag("offers") == "on"
    shop.wait_for(500, "/offers")


def test_cache_flush_takes_what_is_stale_and_leaves_sessions_and_breakers(
    environment: MakeEnvironment, shop: WholeShop
) -> None:
    operator = environment(shop.stack, **shop.variables())
    containers = shop.stack.containers()
    shop.get("/buy")
    kept = {key: shop.cache.type(key) for key in shop.cache.scan_iter()}
    shop.cache.set("session:ada", "logged in")
    shop.cache.set("product:3", "0")
    assert shop.get("/product/3")[1]["price"] == "0"

    done = operator.run("cache-flush", "--reason", "prices are old", "--yes")

    assert done.code == 0, done.output
    assert shop.cache.exists("product:3") == 0
    assert shop.get("/product/3")[1]["price"] == "30"
    assert {key: shop.cache.type(key) for key in kept} == kept
    assert kept
    assert shop.cache.get("session:ada") == "logged in"
    assert shop.stack.containers() == containers


def test_users_are_kept_out_and_let_in_again(environment: MakeEnvironment, shop: WholeShop) -> None:
    operator = environment(shop.stack, **shop.variables())
    files, containers = shop.stack.digest(), shop.stack.containers()

    paused = operator.run("traffic-pause", "--reason", "every request does damage", "--yes")

    assert paused.code == 0, paused.output
    assert {status for status, _ in often(shop, "/orders")} == {503}

    resumed = operator.run("traffic-resume", "--reason", "mended", "--yes")

    assert resumed.code == 0, resumed.output
    assert {status for status, _ in often(shop, "/orders")} == {200}
    assert shop.stack.digest() == files
    assert shop.stack.containers() == containers
