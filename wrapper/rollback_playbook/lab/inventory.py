"""The lab's inventory: what an operator's own inventory says of production, said of the lab."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rollback_playbook.lab.configuration import supervisor_program
from rollback_playbook.lab.inventory_scenarios import (
    group_variables,
    scenario_variables,
    service_variables,
)
from rollback_playbook.lab.places import Lab, LabState
from rollback_playbook.lab.proxy import nginx_binary

_HOSTS = {
    "app": ["shop-app"],
    "database": ["shop-db"],
    "cache": ["shop-cache"],
    "proxy": ["shop-proxy"],
}

_CHECKS = [
    {
        "name": "every order line has its order",
        "query": "SELECT count(*) FROM order_lines l"
        " WHERE NOT EXISTS (SELECT FROM orders o WHERE o.id = l.order_id)",
        "expected": 0,
    },
    {
        "name": "every total is the sum of its lines",
        "query": "SELECT count(*) FROM orders o JOIN (SELECT order_id, sum(quantity * price) AS s"
        " FROM order_lines GROUP BY order_id) l ON l.order_id = o.id WHERE l.s <> o.total",
        "expected": 0,
    },
    {
        "name": "the shop's tables are there",
        "query": "SELECT count(*) FROM unnest(ARRAY['customers', 'products', 'orders',"
        " 'order_lines', 'schema_migrations']) t WHERE to_regclass(t) IS NULL",
        "expected": 0,
    },
]


def write_inventory(lab: Lab, state: LabState, *, bin_dir: Path) -> None:
    """hosts.yml and group_vars; private, since they hold the database's password."""
    folder = lab.inventory
    (folder / "group_vars" / "all").mkdir(parents=True, exist_ok=True)
    folder.chmod(0o700)
    hosts = {
        "all": {
            "vars": {
                "ansible_connection": "local",
                "ansible_python_interpreter": "{{ ansible_playbook_python }}",
            },
            "children": {group: {"hosts": dict.fromkeys(names)} for group, names in _HOSTS.items()},
        }
    }
    _write(folder / "hosts.yml", hosts)
    cache = {"login_host": "127.0.0.1", "login_port": state.ports["valkey"]}
    database = {
        "login_host": "127.0.0.1",
        "login_port": state.ports["postgres"],
        "login_user": "postgres",
        "login_password": state.database_password,
    }
    variables = _variables(lab, state, bin_dir, cache=cache, database=database)
    for name, content in variables.items():
        _write(folder / "group_vars" / "all" / f"{name}.yml", content)
    for name, content in group_variables(lab, state, cache=cache, database=database).items():
        _write(folder / "group_vars" / f"{name}.yml", content)


def _variables(
    lab: Lab, state: LabState, bin_dir: Path, *, cache: dict[str, Any], database: dict[str, Any]
) -> dict[str, dict[str, Any]]:
    """By the file that they stand in; each begins with the name of its role or scenario."""
    return {
        "rollback": {
            "rollback_environment": "lab",
            "rollback_protected": False,
            "rollback_restore_points": str(lab.directory / "restore-points"),
            "incident_lock_path": str(lab.directory / "locks"),
        },
        "database": {
            "database_name": "shop",
            **{f"database_{name}": value for name, value in database.items()},
            "database_bin_dir": str(bin_dir),
            "database_backup_dir": str(lab.backups),
            "database_checks": _CHECKS,
            "database_migration_query": "SELECT max(version) FROM schema_migrations",
        },
        "cache": {
            **{f"cache_{name}": value for name, value in cache.items()},
            "cache_patterns": ["product:*"],
        },
        "protect": {
            "protect_breaker_provider": "pybreaker_redis",
            "protect_breakers": ["payment"],
            "protect_breaker_connection": cache,
            "protect_recovery_watch": 1,
            "protect_recovery_period": 0.1,
            "protect_flag_provider": "flagd_file",
            "protect_flag_path": str(lab.flags),
            "protect_flags": {"checkout": "off"},
        },
        "traffic": {
            "traffic_provider": "nginx",
            "traffic_binary": str(nginx_binary()),
            "traffic_config": str(lab.nginx / "nginx.conf"),
            "traffic_prefix": str(lab.nginx),
            "traffic_maintenance_path": str(lab.nginx / "maintenance.conf"),
            "traffic_url": f"{state.url}/health",
        },
        "release": {
            "release_backend": "supervisor",
            "release_root": str(lab.app),
            "release_programs": ["shop"],
            "release_supervisor_config": str(lab.supervisor_config),
            "release_supervisor_bin": supervisor_program("supervisorctl"),
        },
        "services": service_variables(lab),
        "verify": _gates(state, cache, database),
        "scenarios": scenario_variables(lab, state, database),
    }


def _gates(state: LabState, cache: dict[str, Any], database: dict[str, Any]) -> dict[str, Any]:
    return {
        # Users wait while these are asked: no check that the shop's own health has in it.
        "verify_checks": [
            _http("the shop is healthy", f"{state.shop_url}/health"),
            *(_http(f"the shop shows order {n}", f"{state.shop_url}/orders/{n}") for n in _ORDERS),
        ],
        "verify_confirm_checks": [
            _http("users reach the shop", f"{state.url}/health"),
            *(_http(f"users see order {n}", f"{state.url}/orders/{n}") for n in _ORDERS),
            {
                "name": "the orders can be read",
                "postgres": {
                    **database,
                    "database": "shop",
                    "query": "SELECT count(*) > 0 FROM orders",
                    "expected": True,
                },
            },
            {"name": "the cache answers", "redis": cache},
        ],
        "verify_period": 0.1,
        "verify_timeout": 2,
        "verify_deadline": 60,
        "verify_hold": 3,
    }


#: One customer in five is in tier 0, which release 1.1.0 cannot divide by.
_ORDERS = range(1, 6)


def _http(name: str, url: str) -> dict[str, Any]:
    return {"name": name, "http": {"url": url, "status": [200]}}


def _write(path: Path, content: dict[str, Any]) -> None:
    import yaml

    path.touch(mode=0o600)
    path.write_text(
        "---\n" + yaml.safe_dump(content, sort_keys=False, allow_unicode=True), encoding="utf-8"
    )
