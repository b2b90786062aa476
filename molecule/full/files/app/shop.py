"""A shop: books and orders in PostgreSQL, the page with the price cached in Redis."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg
import redis

RELEASE = Path(__file__).with_name("version").read_text().strip()
CACHE = redis.Redis.from_url(os.environ["SHOP_CACHE"])
PAGE = "page:price"


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        cents = CACHE.get(PAGE)
        if cents is None:
            cents = one("SELECT cents FROM books WHERE id = 1")
            CACHE.set(PAGE, cents)
        self.send(200, {"release": RELEASE, "cents": int(cents)})

    def do_POST(self):
        customer = self.rfile.read(int(self.headers["Content-Length"])).decode()
        order = one("INSERT INTO orders (book, customer) VALUES (1, %s) RETURNING id", customer)
        CACHE.set(f"session:{customer}", order)
        self.send(201, {"release": RELEASE, "order": order})

    def send(self, status, answer):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())


def one(statement, *values):
    with psycopg.connect(os.environ["SHOP_DATABASE"]) as connection:
        return connection.execute(statement, values).fetchone()[0]


HTTPServer(("127.0.0.1", 8000), Answer).serve_forever()
