"""A crowd of clients that connect, ask and leave while a database is exchanged."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import psycopg

from tests.real_servers import PostgresServer

_CLIENT = """
import json, sys, threading, time, psycopg
conninfo, query, threads = sys.argv[1], sys.argv[2], int(sys.argv[3])
end, ready, seen = threading.Event(), threading.Event(), []
def work():
    last = False
    while not last:
        last, began = end.is_set(), time.time()
        try:
            with psycopg.connect(conninfo, connect_timeout=30) as connection:
                answer = connection.execute(query).fetchone()[0]
        except psycopg.Error:
            answer = None
        seen.append((began, time.time(), answer))
        if answer is None:
            last = False
        else:
            ready.set()
crowd = [threading.Thread(target=work) for _ in range(threads)]
for one in crowd: one.start()
ready.wait()
print(flush=True)
sys.stdin.read()
end.set()
for one in crowd: one.join()
print(json.dumps(seen))
"""


class Crowd:
    """64 clients that connect, ask and leave in a tight loop, in four processes, at once."""

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
        for client in self._clients:
            assert client.stdout is not None
            client.stdout.readline()  # it has had an answer

    def seen(self) -> list[tuple[float, float, Any]]:
        """When each asked, when it was answered, and what: None for an error.

        They stop with that, each after an answer to a question that it asked from now on.
        """
        outputs = [client.communicate()[0] for client in self._clients]
        return sorted(
            (tuple(each) for output in outputs for each in json.loads(output)),
            key=lambda each: each[1],
        )
