"""Every scenario, tested by really breaking what it mends."""

from __future__ import annotations

import http.server
import json
import os
import re
import signal
import threading
from collections.abc import Iterator

import pytest

from rollback_playbook.lab import lifecycle, seeding, supervision
from rollback_playbook.lab.asking import answer, log_in
from rollback_playbook.lab.breaking import break_lab, fault_for
from rollback_playbook.lab.certificates import issue
from rollback_playbook.lab.mending import mend_lab
from rollback_playbook.lab.orders import place_orders
from tests.e2e.conftest import Operator

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(900)]

_SLOW = pytest.mark.drill


@pytest.fixture
def shop(working: Operator) -> Iterator[Operator]:
    """The lab as it was shipped, before the test and for the next one."""
    mend_lab(working.lab.directory)
    yield working
    mend_lab(working.lab.directory)


@pytest.fixture
def channel() -> Iterator[Channel]:
    """Where people read what goes on."""
    with Channel(("127.0.0.1", 0), _Webhook) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


class Channel(http.server.ThreadingHTTPServer):
    """A webhook that takes every message."""

    def __init__(self, address: tuple[str, int], handler: type[_Webhook]) -> None:
        super().__init__(address, handler)
        self.messages: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_port}/"


class _Webhook(http.server.BaseHTTPRequestHandler):
    server: Channel

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.messages.append(body["text"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Tests print what matters themselves."""


def _break(shop: Operator, scenario: str) -> list[str]:
    return break_lab(shop.lab.directory, fault_for(scenario))


@pytest.mark.parametrize(
    "scenario",
    [
        "configuration",
        "request-isolation",
        pytest.param("application-config", marks=_SLOW),
        pytest.param("cache-flush", marks=_SLOW),
        pytest.param("complete-failure", marks=_SLOW),
        pytest.param("connection-pool", marks=_SLOW),
        pytest.param("feature-flags", marks=_SLOW),
        pytest.param("infrastructure", marks=_SLOW),
        pytest.param("memory-leak", marks=_SLOW),
        pytest.param("payment-failure", marks=_SLOW),
        pytest.param("tls-certificates", marks=_SLOW),
        pytest.param("websocket", marks=_SLOW),
    ],
)
def test_scenario_mends_what_it_is_for(shop: Operator, scenario: str) -> None:
    fault = fault_for(scenario)
    felt = _break(shop, scenario)

    done = shop.types(scenario, "-i", "lab", "--reason", fault.title)

    assert felt
    assert done.returncode == 0, done.stderr
    assert fault.symptoms(shop.lab) == []


def test_what_a_service_said_last_is_kept_before_it_is_restarted(shop: Operator) -> None:
    with (shop.lab.logs / "shop.log").open("a", encoding="utf-8") as log:
        log.write("what it said last\n")

    done = shop.types("memory-leak", "-i", "lab")

    assert done.returncode == 0, done.stderr
    (evidence,) = shop.lab.directory.glob(f"restore-points/{shop.last()['id']}/evidence")
    state = (evidence / "services.txt").read_text(encoding="utf-8")
    pids = re.findall(r"RUNNING +pid (\d+)", state)
    assert pids
    kept = evidence / "shop.stdout.log"
    assert "what it said last" in kept.read_text(encoding="utf-8")
    assert (evidence.stat().st_mode & 0o777, kept.stat().st_mode & 0o777) == (0o700, 0o600)
    processes = (evidence / "processes.txt").read_text(encoding="utf-8").splitlines()
    assert {*pids} <= {line.split()[0] for line in processes}
    assert "shop_" in (evidence / "metrics-1.txt").read_text(encoding="utf-8")
    record = shop.state_dir / "incidents" / shop.last()["id"] / "events.jsonl"
    assert "what it said last" not in record.read_text(encoding="utf-8")


@_SLOW
def test_evidence_that_cannot_be_kept_keeps_nobody_from_being_helped(shop: Operator) -> None:
    nowhere = '{"rollback_restore_points": "/proc/nowhere", "services_restore_id": "x"}'

    done = shop.types("memory-leak", "-i", "lab", "-e", nowhere)

    assert done.returncode == 0, done.stderr
    assert "ignored  shop-app: Evidence is missing" in done.stderr
    assert "ignored  shop-app: Metrics are missing" in done.stderr
    record = shop.state_dir / "incidents" / shop.last()["id"] / "events.jsonl"
    assert "it goes on without them" in record.read_text(encoding="utf-8")


@pytest.mark.drill
def test_cache_flush_restarts_the_services_that_are_named_and_no_others(shop: Operator) -> None:
    before = _pids(shop)

    done = shop.types("cache-flush", "-i", "lab", "-e", '{"cache_flush_services": ["shop"]}')

    assert done.returncode == 0, done.stderr
    after = _pids(shop)
    assert {name for name in before if before[name] != after[name]} == {"shop"}


def _pids(shop: Operator) -> dict[str, str]:
    """The process of each service, as supervisor has it."""
    services = lifecycle.status(shop.lab.directory).services
    return {name: line.partition("pid ")[2].partition(",")[0] for name, line in services.items()}


@_SLOW
def test_request_isolation_ends_every_session(shop: Operator) -> None:
    port = shop.lab.state().ports["nginx"]
    token = log_in(port, 3)
    _break(shop, "request-isolation")

    done = shop.types("request-isolation", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert answer(port, "/account", token=token)[0] == 401
    assert shop.health()["release"] == "1.0.0"


@pytest.mark.drill
def test_request_isolation_keeps_users_out_before_it_looks_for_the_release(shop: Operator) -> None:
    _break(shop, "request-isolation")

    failed = shop.types("request-isolation", "-i", "lab", "--to", "9.9.9")
    users = shop.users_get()

    assert failed.returncode == 4, failed.stderr
    assert "Done: Declare, Protect." in failed.stderr
    assert "users get the maintenance answer meanwhile, and an undo lets them in" in failed.stderr
    assert users == "maintenance"

    undone = shop.types("undo", "last")

    assert undone.returncode == 0, undone.stderr
    assert shop.users_get() == "ok"
    assert shop.health()["release"] == "1.2.0"


@_SLOW
def test_request_isolation_that_is_continued_goes_through_with_users_kept_out(
    shop: Operator,
) -> None:
    _break(shop, "request-isolation")
    failed = shop.types("request-isolation", "-i", "lab", "--to", "9.9.9")

    done = shop.types("continue", "last", "-e", "release_version=1.0.0")

    assert failed.returncode == 4, failed.stderr
    assert done.returncode == 0, done.stderr
    assert shop.users_get() == "ok"
    assert shop.health()["release"] == "1.0.0"
    assert fault_for("request-isolation").symptoms(shop.lab) == []


@pytest.mark.drill
def test_request_isolation_asks_people_for_its_review(shop: Operator, channel: Channel) -> None:
    _break(shop, "request-isolation")

    done = shop.types("request-isolation", "-i", "lab", "-e", f"notify_webhook_url={channel.url}")

    assert done.returncode == 0, done.stderr
    assert "nobody approved it before; review it: rollback-playbook incidents report" in done.stderr
    assert channel.messages[-1].endswith(
        "complete; nobody approved it before, so it has to be reviewed"
    )
    assert shop.users_get() == "ok"


@_SLOW
def test_application_config_brings_release_and_environment_file_back_together(
    shop: Operator,
) -> None:
    before = shop.lab.environment_file.read_bytes()
    _break(shop, "application-config")

    done = shop.types("application-config", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert shop.lab.environment_file.read_bytes() == before
    assert shop.health() == {"status": "ok", "release": "1.0.0", "schema": 1}


@_SLOW
def test_connection_pool_lowers_the_limits_and_keeps_what_they_were(shop: Operator) -> None:
    _break(shop, "connection-pool")
    raised = shop.lab.environment_file.read_text(encoding="utf-8")

    done = shop.types("connection-pool", "-i", "lab")

    assert done.returncode == 0, done.stderr
    kept = shop.lab.directory / "configuration-backups" / "app" / "tuned"
    assert raised in [path.read_text(encoding="utf-8") for path in kept.glob("*/0")]
    with seeding.connect(shop.lab.state(), "shop") as connection:
        row = connection.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop'"
        ).fetchone()
    assert row is not None
    assert int(str(row[0])) <= 14


@_SLOW
def test_payment_failure_leaves_the_shop_open_without_payments(shop: Operator) -> None:
    _break(shop, "payment-failure")

    done = shop.types("payment-failure", "-i", "lab")

    assert done.returncode == 0, done.stderr
    assert place_orders(shop.lab.state().url, 2) == 0
    assert answer(shop.lab.state().ports["nginx"], "/orders/7")[0] == 200


@_SLOW
def test_breaker_recovery_takes_payments_again_when_the_provider_is_well(shop: Operator) -> None:
    _break(shop, "payment-failure")
    opened = shop.types("payment-failure", "-i", "lab")
    os.kill(supervision.pid(shop.lab.state(), "payment"), signal.SIGCONT)
    still_open = place_orders(shop.lab.state().url, 1)

    # An inventory may name a breaker for this scenario alone.
    done = shop.types("breaker-recovery", "-i", "lab", "-e", '{"protect_breakers": []}')

    assert opened.returncode == 0, opened.stderr
    assert still_open == 0
    assert done.returncode == 0, done.stderr
    assert "done and healthy" in done.stderr
    assert place_orders(shop.lab.state().url, 2) == 2


@_SLOW
def test_performance_regression_sheds_the_load_of_the_crawler(shop: Operator) -> None:
    fault = fault_for("performance-regression")
    # By the command line: this process must not be left with one of the crawler's.
    broken = shop.types("lab", "break", "--fault", fault.name)

    done = shop.types("performance-regression", "-i", "lab")

    assert broken.returncode == 0, broken.stderr
    assert "threads are busy" in broken.stderr
    assert done.returncode == 0, done.stderr
    assert fault.symptoms(shop.lab) == []
    flags = json.loads(shop.lab.flags.read_text(encoding="utf-8"))["flags"]
    assert flags["recommendations"]["defaultVariant"] == "off"
    assert flags["rate_limiting"]["defaultVariant"] == "on"
    port = shop.lab.state().ports["nginx"]
    assert answer(port, "/products/7/recommendations", timeout=30) == (200, {"products": []})


def test_traffic_is_paused_once_and_resumed_as_it_was(shop: Operator) -> None:
    found = (shop.lab.nginx / "maintenance.conf").read_bytes()

    paused = shop.types("traffic-pause", "-i", "lab", "--reason", "every request does damage")
    status, _ = answer(shop.lab.state().ports["nginx"], "/health")
    kept = (shop.lab.nginx / "maintenance.conf").read_bytes()
    again = shop.types("traffic-pause", "-i", "lab")
    undone = shop.types("undo", "last")

    assert paused.returncode == 0, paused.stderr
    assert status == 503
    assert again.returncode == 0, again.stderr
    assert undone.returncode == 3
    assert "left nothing that could be taken back" in undone.stderr
    assert (shop.lab.nginx / "maintenance.conf").read_bytes() == kept

    resumed = shop.types("traffic-resume", "-i", "lab")

    assert resumed.returncode == 0, resumed.stderr
    assert shop.users_get() == "ok"
    assert (shop.lab.nginx / "maintenance.conf").read_bytes() == found


@_SLOW
def test_complete_failure_starts_the_core_before_what_depends_on_it(shop: Operator) -> None:
    _break(shop, "complete-failure")
    started = len(_supervisor_log(shop))

    done = shop.types("complete-failure", "-i", "lab")

    assert done.returncode == 0, done.stderr
    spawned = [line.split("'")[1] for line in _supervisor_log(shop)[started:] if "spawned" in line]
    order = [spawned.index(name) for name in ("postgres", "valkey", "shop", "nginx")]
    assert order == sorted(order)


@_SLOW
def test_tls_certificates_without_a_good_one_in_the_backup_change_nothing(shop: Operator) -> None:
    issue(shop.lab.certificates, days_left=-1)
    kept = shop.types("backup", "-i", "lab")
    found = (shop.lab.certificates / "shop.pem").read_bytes()

    done = shop.types("tls-certificates", "-i", "lab")
    mend_lab(shop.lab.directory)
    shop.types("backup", "-i", "lab", "--take-over")

    assert kept.returncode == 0, kept.stderr
    assert done.returncode == 3, done.stderr
    assert "nothing was changed" in done.stderr
    assert found


@_SLOW
def test_configuration_in_check_mode_shows_the_difference_and_changes_nothing(
    shop: Operator,
) -> None:
    _break(shop, "configuration")
    before = (shop.lab.nginx / "upstream.conf").read_bytes()

    done = shop.types("configuration", "-i", "lab", "--check")

    assert done.returncode == 0, done.stderr
    assert (shop.lab.nginx / "upstream.conf").read_bytes() == before


@_SLOW
def test_feature_flags_twice_changes_nothing_the_second_time(shop: Operator) -> None:
    _break(shop, "feature-flags")
    shop.types("feature-flags", "-i", "lab")
    flags = shop.lab.flags.read_bytes()

    again = shop.types("feature-flags", "-i", "lab")

    assert again.returncode == 0, again.stderr
    assert shop.lab.flags.read_bytes() == flags
    assert "Flags are in their safe state" not in again.stderr


@_SLOW
def test_a_drill_is_written_down_and_leaves_the_lab_as_it_was(shop: Operator) -> None:
    done = shop.types("drill", "payment-failure", "--scale", "0.02")

    history = shop.types("drill", "history", "payment-failure", "--json")

    assert done.returncode == 0, done.stderr
    assert "no symptom of the fault is left" in done.stderr
    drilled = json.loads(history.stdout.splitlines()[-1])
    assert drilled["exit_code"] == 0
    assert {"Declare", "Protect", "Verify", "Close"} <= set(drilled["phases"])
    assert drilled["outage_seconds"] is not None
    assert place_orders(shop.lab.state().url, 1) == 1


def test_a_fault_that_is_mended_by_hand_leaves_nothing_behind(shop: Operator) -> None:
    felt = _break(shop, "payment-failure")

    done = shop.types("lab", "mend")

    assert felt
    assert done.returncode == 0, done.stderr
    assert place_orders(shop.lab.state().url, 1) == 1
    assert all(
        line.startswith("RUNNING") for line in supervision.programs(shop.lab.state()).values()
    )


def _supervisor_log(shop: Operator) -> list[str]:
    return (shop.lab.logs / "supervisord.log").read_text(encoding="utf-8").splitlines()
