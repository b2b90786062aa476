"""The nginx of a project."""

from __future__ import annotations

from textwrap import dedent, indent

_IN_A_CONTAINER = """\
daemon off;
pid /tmp/nginx.pid;
error_log stderr warn;
events { worker_connections 256; }
http {
  access_log off;
  resolver 127.0.0.11 valid=1s;
  client_body_temp_path /tmp/a; proxy_temp_path /tmp/b; fastcgi_temp_path /tmp/c;
  uwsgi_temp_path /tmp/d; scgi_temp_path /tmp/e;
"""


def nginx(http: str) -> str:
    """A configuration with this in its ``http`` block; it knows the services by their names."""
    return f"{_IN_A_CONTAINER}{indent(dedent(http).strip(), '  ')}\n}}\n"
