"""A project with a database, a cache, a payment provider and feature flags, and its inventory."""

from __future__ import annotations

import http.client
import json
import time
from contextlib import closing
from dataclasses import dataclass
from typing import Any

import psycopg
import redis

from tests.compose.proxy import nginx
from tests.compose.servers import postgres_folder
from tests.compose.stack import Stack

PASSWORD = "owner's own"
_TILL_PASSWORD = "of-the-till"

COMPOSE_FILE = """\
services:
  proxy:
    image: base/nginx:1
    command: ["/usr/sbin/nginx", "-p", "/run", "-c", "/etc/nginx/nginx.conf"]
    ports: ["127.0.0.1:${PORT}:80"]
    volumes: ["./nginx:/etc/nginx:ro", "./maintenance:/etc/maintenance:ro"]
    stop_grace_period: 1s
    depends_on: [web]
  web:
    image: shop/till:${WEB:-1.0.0}
    deploy: {replicas: 2}
    environment:
      DATABASE: "host=database dbname=shop user=till"
      CACHE: cache
      PAYMENTS: http://payment:8000/charge
      FLAGS: /etc/flags/flags.json
      FLAGD_DEADLINE_MS: "200"
    env_file: till.env
    volumes: ["./flags:/etc/flags:ro"]
    stop_grace_period: 1s
  payment:
    image: shop/api:1.0.0
    stop_grace_period: 1s
  cache:
    image: base/valkey:9
    command: ["/usr/bin/valkey-server", "--protected-mode", "no", "--save", ""]
    ports: ["127.0.0.1:${CACHE_PORT}:6379"]
    stop_grace_period: 1s
  database:
    image: base/postgres:18
    command: ["/bin/postgres-starts"]
    environment: {POSTGRES_PASSWORD: "owner's own"}
    ports: ["127.0.0.1:${DATABASE_PORT}:5432"]
    volumes: ["data:/data"]
    stop_grace_period: 1s
volumes:
  data:
"""

NGINX = nginx(
    """
    upstream web { zone web 64k; server web:8000 resolve max_fails=0; }
    server {
      listen 80;
      proxy_connect_timeout 1s;
      include /etc/maintenance/*.conf;
      location / { proxy_pass http://web; }
    }
    """
)

_SWITCH = {"state": "ENABLED", "variants": {"on": True, "off": False}}
FLAGS = {
    "flags": {
        "offers": {**_SWITCH, "defaultVariant": "on"},
        "recommendations": {**_SWITCH, "defaultVariant": "on"},
        "rate_limiting": {**_SWITCH, "defaultVariant": "off"},
        "vouchers": {**_SWITCH, "defaultVariant": "on"},
    }
}

FILES = {
    "nginx/nginx.conf": NGINX,
    "flags/flags.json": json.dumps(FLAGS),
    "till.env": f"PGPASSWORD={_TILL_PASSWORD}\nSESSION_KEY=of-the-first-day\n",
}

#: As release 1.0.0 wants it.
SCHEMA = """
CREATE TABLE schema_migrations (version integer PRIMARY KEY);
INSERT INTO schema_migrations VALUES (1);
CREATE TABLE products (id integer PRIMARY KEY, price numeric NOT NULL);
INSERT INTO products SELECT n, n * 10 FROM generate_series(1, 20) n;
CREATE TABLE orders (id serial PRIMARY KEY, customer text NOT NULL, total numeric NOT NULL);
CREATE TABLE customers (name text PRIMARY KEY, administrator boolean NOT NULL DEFAULT false,
  must_reset boolean NOT NULL DEFAULT false);
INSERT INTO customers VALUES ('owner', true), ('ada', false);
INSERT INTO orders (customer, total) SELECT 'c' || n % 7, n * 5 FROM generate_series(1, 200) n;
GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA public TO till;
"""

SOUND = [
    {
        "name": "every order has its total",
        "query": "SELECT count(*) FROM orders WHERE total IS NULL OR total <= 0",
        "expected": 0,
    }
]


@dataclass(frozen=True)
class WholeShop:
    """The project, as its users and its owner have it."""

    stack: Stack

    def get(self, path: str) -> tuple[int, dict[str, Any]]:
        """What a user gets: status and page; 0 when there is no answer within half a minute."""
        connection = http.client.HTTPConnection("127.0.0.1", self.stack.port, timeout=30)
        with closing(connection):
            try:
                connection.request("GET", path, headers={"Connection": "close"})
                answer = connection.getresponse()
                body = answer.read()
            except (OSError, http.client.HTTPException):
                return 0, {}
        return answer.status, json.loads(body) if body.startswith(b"{") else {}

    def takes(self, path: str) -> tuple[int, float]:
        """The status, and after how many seconds."""
        began = time.monotonic()
        status, _ = self.get(path)
        return status, time.monotonic() - began

    def wait_for(self, status: int, path: str) -> None:
        """Until both containers answer so, ten times in a row."""
        deadline, held = time.monotonic() + 180, 0
        while held < 10:
            found, said = self.get(path)
            held = held + 1 if found == status else 0
            assert time.monotonic() < deadline, f"{path} gives {found} {said}, not {status}"

    @property
    def cache(self) -> redis.Redis:
        return redis.Redis(port=int(self.stack.variables["CACHE_PORT"]), decode_responses=True)

    def database(self, name: str = "shop") -> psycopg.Connection:
        return psycopg.connect(
            host="127.0.0.1",
            port=int(self.stack.variables["DATABASE_PORT"]),
            user="postgres",
            password=PASSWORD,
            dbname=name,
            autocommit=True,
        )

    def sql(self, *statements: str) -> None:
        with self.database() as connection:
            for statement in statements:
                connection.execute(statement)

    def flag(self, name: str) -> str:
        """Which variant the file says."""
        text = (self.stack.folder / "flags" / "flags.json").read_text()
        return str(json.loads(text)["flags"][name]["defaultVariant"])

    def others(self) -> dict[str, list[str]]:
        """The containers of everything that is not deployed."""
        return self.stack.containers("proxy", "payment", "cache", "database")

    def as_in_the_beginning(self) -> None:
        """Data, keys and flags are those that the owner has put there."""
        self._wait_for_database()
        with self.database("postgres") as connection:
            found = connection.execute("SELECT datname FROM pg_database WHERE datname ~ '^shop'")
            for (name,) in found.fetchall():
                connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)')
            connection.execute("DROP ROLE IF EXISTS till")
            connection.execute(f"CREATE ROLE till LOGIN PASSWORD '{_TILL_PASSWORD}'")
            connection.execute("CREATE DATABASE shop")
        self.sql(SCHEMA)
        self.cache.flushall()

    def _wait_for_database(self) -> None:
        deadline = time.monotonic() + 60
        while True:
            try:
                self.database("postgres").close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, self.stack.compose("logs", "database")
                time.sleep(0.2)
            else:
                return

    def variables(self) -> dict[str, Any]:
        """What the inventory of its owner says."""
        stack = self.stack
        compose = ["docker", "compose", "--project-directory", str(stack.folder)]
        # From the proxy, because users are kept out when it is asked.
        past_the_proxy = [*compose, "exec", "-T", "proxy", "/bin/busybox", "wget", "-q", "-O", "-"]
        cache = {"login_host": "127.0.0.1", "login_port": int(stack.variables["CACHE_PORT"])}
        return {
            "release_services": ["web"],
            "release_compose_trial": False,
            "database_name": "shop",
            "database_login_port": int(stack.variables["DATABASE_PORT"]),
            "database_login_password": PASSWORD,
            "database_bin_dir": str(postgres_folder() / "bin"),
            "database_backup_dir": str(stack.host / "backups"),
            "database_checks": SOUND,
            "database_migration_query": "SELECT max(version) FROM schema_migrations",
            "cache_mode": "pattern",
            "cache_patterns": ["product:*"],
            "cache_login_port": cache["login_port"],
            "traffic_provider": "nginx",
            "traffic_command": ["docker", "exec", f"{stack.project}-proxy-1"],
            "traffic_binary": "/usr/sbin/nginx",
            "traffic_prefix": "/run",
            "traffic_maintenance_path": str(stack.folder / "maintenance" / "maintenance.conf"),
            "traffic_url": f"http://127.0.0.1:{stack.port}/orders",
            "protect_breaker_connection": cache,
            "protect_flag_path": str(stack.folder / "flags" / "flags.json"),
            "verify_checks": [
                {
                    "name": "the till shows orders",
                    "command": {"argv": [*past_the_proxy, "http://web:8000/orders"]},
                }
            ],
        }
