"""What the lab's inventory says for single scenarios, and for the hosts of one group."""

from __future__ import annotations

from typing import Any

from rollback_playbook.lab.configuration import nginx_argv, supervisor_program
from rollback_playbook.lab.places import Lab, LabState
from rollback_playbook.lab.sessions import PROBES, probe_token

#: What `connection-pool` lowers the shop to.
_FEWER = {"SHOP_POOL_MIN": 2, "SHOP_POOL_MAX": 4}
_MEMORY_SHARE = 0.7
#: Of the shop's eight threads; with more of them busy, the next request may have to wait.
BUSY_THREADS = 6
#: Seconds that one order may take to be shown.
_SLOW = 1


def scenario_variables(lab: Lab, state: LabState, database: dict[str, Any]) -> dict[str, Any]:
    """Variables of all hosts, each beginning with the name of its scenario."""
    shop = {**database, "login_user": "shop", "login_password": state.shop_password}
    return {
        "feature_flags_safe": {"recommendations": "off"},
        "feature_flags_checks": [_http("recommendations do not fail", _recommendations(state))],
        "performance_regression_flags": {"recommendations": "off", "rate_limiting": "on"},
        "performance_regression_checks": [_threads_to_spare(state)],
        "payment_failure_breakers": ["payment"],
        "payment_failure_checks": [_no_payments(state)],
        "connection_pool_environment_file": str(lab.environment_file),
        "connection_pool_limits": _FEWER,
        "connection_pool_services": ["shop"],
        "connection_pool_checks": _pool_checks(shop, database),
        "memory_leak_services": ["shop"],
        "memory_leak_checks": [_memory(state)],
        "websocket_services": ["live"],
        "websocket_session_patterns": ["live:session:*"],
        "websocket_checks": [_websocket(state)],
        "request_isolation_services": ["shop"],
        "request_isolation_patterns": ["session:*"],
        "request_isolation_exclude": ["session:probe-*"],
        "request_isolation_checks": [_isolation(state)],
        "tls_certificates_checks": [_certificate(lab, state)],
    }


def group_variables(
    lab: Lab, state: LabState, *, cache: dict[str, Any], database: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """Variables of the hosts of a group: their services, and their configuration."""
    return {
        "database": {
            "services_names": ["postgres"],
            "services_checks": [{"name": "the database answers", "postgres": database}],
            **_access_rules(lab),
        },
        "cache": {
            "services_names": ["valkey"],
            "services_checks": [{"name": "the cache answers", "redis": cache}],
        },
        "app": {
            "services_names": ["shop", "live"],
            "services_checks": [_http("the shop is healthy", f"{state.shop_url}/health")],
            **_environment_file(lab),
        },
        "proxy": {
            "services_names": ["nginx"],
            "services_checks": [_http("users reach the shop", f"{state.url}/health")],
            **_proxy_files(lab),
        },
    }


def service_variables(lab: Lab) -> dict[str, Any]:
    """How services are run, on all hosts."""
    return {
        "services_backend": "supervisor",
        "services_period": 0.2,
        "services_timeout": 2,
        "services_deadline": 60,
        "services_supervisor_config": str(lab.supervisor_config),
        "services_supervisor_bin": supervisor_program("supervisorctl"),
    }


def _control(lab: Lab) -> list[str]:
    return [supervisor_program("supervisorctl"), "-c", str(lab.supervisor_config)]


def _access_rules(lab: Lab) -> dict[str, Any]:
    return {
        "configuration_paths": [str(lab.access_rules)],
        "configuration_backup_dir": str(lab.directory / "configuration-backups" / "database"),
        "configuration_reload": [[*_control(lab), "signal", "HUP", "postgres"]],
    }


def _environment_file(lab: Lab) -> dict[str, Any]:
    return {
        "configuration_paths": [str(lab.environment_file)],
        "configuration_backup_dir": str(lab.directory / "configuration-backups" / "app"),
        "configuration_validate": [["/bin/sh", "-n", str(lab.environment_file)]],
        "configuration_reload": [[*_control(lab), "restart", "shop"]],
    }


def _proxy_files(lab: Lab) -> dict[str, Any]:
    certificate, key = (str(lab.certificates / name) for name in ("shop.pem", "shop.key"))
    files = [str(lab.nginx / name) for name in ("nginx.conf", "upstream.conf")]
    return {
        "configuration_paths": [*files, certificate, key],
        "configuration_backup_dir": str(lab.directory / "configuration-backups" / "proxy"),
        "configuration_validate": [[*nginx_argv(lab), "-t"]],
        "configuration_reload": [[*nginx_argv(lab), "-s", "reload"]],
        "configuration_certificates": [
            {
                "certificate": certificate,
                "private_key": key,
                "server_name": "localhost",
                "ca_cert": str(lab.certificates / "ca.pem"),
                "min_days_left": 1,
            }
        ],
    }


def _pool_checks(shop: dict[str, Any], database: dict[str, Any]) -> list[dict[str, Any]]:
    return [
        {"name": "the database lets the shop in", "postgres": {**shop, "database": "shop"}},
        {
            "name": "the shop holds few connections",
            "postgres": {
                **database,
                "database": "shop",
                "query": "SELECT count(*) FROM pg_stat_activity WHERE usename = 'shop'",
                # The pool, what follows orders live, and the check above.
                "max": _FEWER["SHOP_POOL_MAX"] + 10,
            },
        },
    ]


def _threads_to_spare(state: LabState) -> dict[str, Any]:
    return {
        "name": "the shop has threads to spare",
        "metrics": {
            "url": f"{state.shop_url}/metrics",
            "metric": "http_requests_in_progress",
            "max": BUSY_THREADS,
        },
    }


def _memory(state: LabState) -> dict[str, Any]:
    return {
        "name": "the shop holds less than 70 % of its memory",
        "metrics": {
            "url": f"{state.shop_url}/metrics",
            "metric": "process_resident_memory_bytes",
            "per": {"metric": "shop_memory_limit_bytes"},
            "max": _MEMORY_SHARE,
        },
    }


def _websocket(state: LabState) -> dict[str, Any]:
    url = state.url.replace("http", "ws", 1)
    return {
        "name": "an order can be followed",
        "websocket": {"url": f"{url}/live?order=7", "expect": "status"},
    }


def _isolation(state: LabState) -> dict[str, Any]:
    return {
        "name": "customers see their own account",
        "timeout": 10,
        "success_threshold": 2,
        "isolation": {
            "url": f"{state.shop_url}/account",
            "rounds": 50,
            "users": [
                {
                    "name": f"customer {customer}",
                    "bearer_token": probe_token(state, customer),
                    "marker": f"customer{customer}@shop.example",
                }
                for customer in PROBES
            ],
        },
    }


def _no_payments(state: LabState) -> dict[str, Any]:
    return {
        "name": "customers read at once that no payments are taken",
        "http": {
            "url": f"{state.url}/checkout",
            "method": "POST",
            "body": {"product": 1, "quantity": 1},
            "bearer_token": probe_token(state, PROBES[0]),
            "status": [503],
            "text": "not taken",
            "max_latency": _SLOW,
        },
    }


def _certificate(lab: Lab, state: LabState) -> dict[str, Any]:
    return {
        "name": "browsers accept the certificate",
        "tls": {
            "host": "127.0.0.1",
            "port": state.ports["https"],
            "server_name": "localhost",
            "ca_cert": str(lab.certificates / "ca.pem"),
            "min_days_left": 1,
        },
    }


def _recommendations(state: LabState) -> str:
    return f"{state.url}/products/7/recommendations"


def _http(name: str, url: str, **expected: Any) -> dict[str, Any]:
    return {"name": name, "http": {"url": url, "status": [200], **expected}}
