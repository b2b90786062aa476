"""The shop with a database, a cache, a payment provider and feature flags, which it really asks.

What is wrong with a release is baked into its image, in /app/release.json.
"""

import json
import os
import signal
import threading
import time
import urllib.request
from collections import deque
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psycopg
import pybreaker
import redis

RELEASE = json.loads(Path("/app/release.json").read_text())
#: How many requests may ask the database at once: those that wait for it are what users feel.
CONNECTIONS = threading.BoundedSemaphore(2)
#: With rate limiting on, so many of the costly page in a second.
LIMIT = 2

cache = redis.Redis(host=os.environ["CACHE"], socket_timeout=2)
recent = deque(maxlen=LIMIT)


class Refused(Exception):
    """Said to the user, with this status."""

    def __init__(self, status, words):
        super().__init__(words)
        self.status = status


def ask(query, *values):
    with CONNECTIONS, psycopg.connect(os.environ["DATABASE"], connect_timeout=2) as connection:
        return connection.execute(query, values).fetchone()


def is_on(flag):
    from openfeature import api

    return api.get_client().get_boolean_value(flag, default_value=True)


def read_flags():
    from openfeature import api
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    source = os.environ["FLAGS"]
    api.set_provider(
        FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=source)
    )


def orders():
    count, total = ask(f"SELECT count(*), sum({RELEASE['total']}) FROM orders")
    return {"orders": count, "total": str(total)}


def order(number):
    (total,) = ask(f"SELECT {RELEASE['total']} FROM orders WHERE id = %s", number)
    return {"total": str(total)}


def product(number):
    """As the cache has it, which learns it from the database."""
    price = cache.get(f"product:{number}")
    if price is None:
        price = str(ask("SELECT price FROM products WHERE id = %s", number)[0])
        cache.set(f"product:{number}", price)
    return {"price": price if isinstance(price, str) else price.decode()}


def offers():
    return {"offers": [1 // RELEASE["offers"]] if is_on("offers") else []}


def debug():
    """The hole: whoever asks is told every secret."""
    if not RELEASE.get("debug"):
        raise Refused(404, "there is no such page")
    return dict(os.environ)


def recommendations():
    if is_on("rate_limiting"):
        now = time.monotonic()
        if len(recent) == LIMIT and now - recent[0] < 1:
            raise Refused(429, "too many requests")
        recent.append(now)
    if is_on("recommendations"):
        ask("SELECT pg_sleep(1)")
    return {"products": []}


def buy():
    storage = pybreaker.CircuitRedisStorage("closed", cache, namespace="payment")
    breaker = pybreaker.CircuitBreaker(fail_max=1000, reset_timeout=1, state_storage=storage)
    try:
        breaker.call(pay)
    except pybreaker.CircuitBreakerError:
        raise Refused(503, "payments are not taken for the moment") from None
    except OSError:
        raise Refused(502, "the payment provider failed") from None
    return {"paid": True}


def pay():
    with urllib.request.urlopen(os.environ["PAYMENTS"], timeout=4) as answer:
        answer.read()


PAGES = {
    "": dict,
    "health": dict,
    "orders": orders,
    "order": order,
    "product": product,
    "offers": offers,
    "recommendations": recommendations,
    "buy": buy,
    "debug": debug,
}


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        page, _, what = self.path.lstrip("/").partition("/")
        try:
            status, said = 200, PAGES[page](*([int(what)] if what else []))
        except Refused as refusal:
            status, said = refusal.status, {"error": str(refusal)}
        except Exception as failure:
            status, said = 500, {"error": repr(failure)}
        body = json.dumps({"version": RELEASE["version"], **said}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
read_flags()
print("till", RELEASE["version"], "listens", flush=True)
ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
