"""A shop: books and orders in PostgreSQL, pages, sessions and its breaker in Redis.

What a release does wrong stands in the file fault beside it; a good one has none.
"""

import json
import os
import queue
import resource
import sys
import threading
import urllib.request
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pybreaker
import redis

HERE = Path(__file__).resolve().parent
FAULT = (HERE / "fault").read_text().strip() if (HERE / "fault").exists() else ""
CACHE = redis.Redis.from_url(os.environ["SHOP_CACHE"], decode_responses=True)
SEARCHES = []  # of a release that forgets none
SEARCHING = threading.BoundedSemaphore(1)
ACCOUNTS = {}
FAILURES = (ArithmeticError, LookupError, MemoryError, psycopg.Error, redis.RedisError)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        page = self.path.split("?")[0].split("/")[1]
        self.answer(getattr(self, f"get_{page}", self.get_nothing))

    def do_POST(self):
        self.answer(self.checkout)

    def answer(self, page):
        try:
            status, answer = page()
        except queue.Empty:
            status, answer = 503, {"error": "busy"}
        except FAILURES as error:
            status, answer = 500, {"error": f"{type(error).__name__}: {error}"}
        text = answer if isinstance(answer, str) else json.dumps(answer)
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def get_nothing(self):
        return 404, {"error": "there is no such page"}

    def get_price(self):
        cents = CACHE.get("page:price")
        if cents is None:
            cents = one("SELECT cents FROM books WHERE id = 1")
            CACHE.set("page:price", cents)
        pieces = 0 if FAULT == "sells nothing" else 1
        return 200, {"release": HERE.name, "cents": int(cents) // pieces}

    def get_orders(self):
        cents = one("SELECT cents FROM orders WHERE id = %s", int(self.path.split("/")[2]))
        return 200, {"release": HERE.name, "cents": cents}

    def get_account(self):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if FAULT == "mixes sessions" and ACCOUNTS:
            return 200, {"mail": next(iter(ACCOUNTS.values()))}
        mail = CACHE.get(f"session:{token}")
        if mail is None:
            return 401, {"error": "log in first"}
        ACCOUNTS[token] = mail
        return 200, {"mail": mail}

    def get_search(self):
        if FAULT == "leaks":
            SEARCHES.append(b"x" * 2**23)
        limited = is_on("rate_limiting")
        if limited and not SEARCHING.acquire(blocking=False):
            return 429, {"error": "search is limited"}
        try:
            found = one("SELECT id, pg_sleep(%s) FROM books", 30 if FAULT == "is slow" else 0)
        finally:
            if limited:
                SEARCHING.release()
        return 200, {"release": HERE.name, "found": found}

    def get_recommendations(self):
        if not is_on("recommendations"):
            return 200, {"books": []}
        return 200, {"books": [1] if FAULT != "recommends nothing" else [1][1]}

    def get_metrics(self):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        limit = resource.getrlimit(resource.RLIMIT_DATA)[0]
        return 200, (
            f"process_resident_memory_bytes {pages * resource.getpagesize()}\n"
            f"shop_memory_limit_bytes {limit}\n"
        )

    def checkout(self):
        if not is_on("checkout"):
            return 503, {"error": "the shop is closed"}
        try:
            return 201, {"charge": breaker().call(charge)}
        except pybreaker.CircuitBreakerError:
            return 503, {"error": "payments are not taken"}
        except OSError as error:
            return 504, {"error": f"the payment provider failed: {error}"}


@cache
def breaker():
    """Made at the first charge: it asks Redis at once, and pages do without."""
    connection = redis.Redis.from_url(os.environ["SHOP_CACHE"])
    storage = pybreaker.CircuitRedisStorage(pybreaker.STATE_CLOSED, connection, namespace="payment")
    return pybreaker.CircuitBreaker(state_storage=storage)


def charge():
    with urllib.request.urlopen("http://127.0.0.1:8002/", data=b"", timeout=5) as answer:
        return json.load(answer)["charge"]


def is_on(flag):
    flags = json.loads(Path("/etc/shop/flags.json").read_text())["flags"]
    return flags[flag]["defaultVariant"] == "on"


def one(statement, *values):
    """The first column of the first row; a connection that the server has ended is made anew."""
    connection = POOL.get(timeout=2)
    try:
        for last in (False, True):
            try:
                if connection is None or connection.closed:
                    connection = psycopg.connect(os.environ["SHOP_DATABASE"], autocommit=True)
                return connection.execute(statement, values).fetchone()[0]
            except psycopg.OperationalError:
                if last:
                    raise
    finally:
        POOL.put(connection)


def connected():
    try:
        return psycopg.connect(os.environ["SHOP_DATABASE"], autocommit=True)
    except psycopg.OperationalError as error:
        print("shop", HERE.name, "has one connection less:", error, flush=True)
        return None


threading.stack_size(2**19)
POOL = queue.LifoQueue()
for _number in range(int(os.environ["SHOP_POOL"])):
    POOL.put(connected())
print("shop", HERE.name, "starts", flush=True)
ThreadingHTTPServer(("127.0.0.1", int(sys.argv[1])), Answer).serve_forever()
