"""A shop that reads its customers from the database, with the password of its environment file."""

import json
import os
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path

import psycopg

RELEASE = Path(__file__).resolve().parent.name


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        dsn = (
            f"host=127.0.0.1 dbname=shop user=shop password={os.environ['SHOP_DATABASE_PASSWORD']}"
        )
        with psycopg.connect(dsn) as connection:
            names = connection.execute("SELECT name FROM customers ORDER BY name").fetchall()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(
            json.dumps({"release": RELEASE, "customers": [n for (n,) in names]}).encode()
        )


HTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
