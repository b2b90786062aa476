"""A crowd of clients that connect, ask and leave while a database is exchanged."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from typing import Any

import psycopg

from tests.real_servers import PostgresServer

_CLIENT = """
import json, sys, threading, time, psycopg
conninfo, query, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
end, seen = threading.Event(), []
def work():
    while not end.is_set():
        began = time.time()
        try:
            with psycopg.connect(conninfo, connect_timeout=30) as connection:
                answer = connection.execute(query).fetchone()[0]
        except psycopg.Error:
            answer = None
        seen.append((began, time.time(), answer))
crowd = [threading.Thread(target=work) for _ in range(threads)]
for one in crowd: one.start()
sys.stdin.read()
end.set()
for one in crowd: one.join()
print(json.dumps(seen))
"""


class Crowd:
    """64 clients that connect, ask and leave in a tight loop, in four processes."""

    def __init__(self, server: PostgresServer, database: str, query: str) -> None:
        conninfo = psycopg.conninfo.make_conninfo(
            host="127.0.0.1",
            port=server.port,
            user="postgres",
            password=server.password,
            dbname=database,
        )
        self._clients = [
            subprocess.Popen(
                [sys.executable, "-c", _CLIENT, conninfo, query, "16"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(4)
        ]

    def seen(self) -> list[tuple[float, float, Any]]:
        """Stop; when each asked, when it was answered, and what: None for an error."""
        time.sleep(1)
        outputs = [client.communicate()[0] for client in self._clients]
        return sorted(
            (tuple(each) for output in outputs for each in json.loads(output)),
            key=lambda each: each[1],
        )
