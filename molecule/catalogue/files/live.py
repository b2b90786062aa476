"""The state of an order over a WebSocket, as long as there are sessions left: /live?order=7."""

import base64
import hashlib
import os
import secrets
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import psycopg
import redis

CACHE = redis.Redis.from_url(os.environ["SHOP_CACHE"])
LIMIT = 5
OF_THE_PROTOCOL = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if len(CACHE.keys("live:session:*")) >= LIMIT:
            self.refuse("too many sessions")
            return
        try:
            with psycopg.connect(os.environ["SHOP_DATABASE"]) as database:
                status = database.execute("SELECT 'paid'").fetchone()[0]
        except psycopg.OperationalError as error:
            self.refuse(f"no connection: {error}")
            return
        session = f"live:session:{secrets.token_hex(8)}"
        CACHE.set(session, "open")
        try:
            self.follow(f'{{"status": "{status}"}}'.encode())
        finally:
            CACHE.delete(session)

    def refuse(self, reason):
        self.send_response(503)
        self.send_header("Content-Length", str(len(reason.encode())))
        self.end_headers()
        self.wfile.write(reason.encode())

    def follow(self, message):
        key = self.headers["Sec-WebSocket-Key"].encode()
        accepted = base64.b64encode(hashlib.sha1(key + OF_THE_PROTOCOL).digest()).decode()  # noqa: S324
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", accepted)
        self.end_headers()
        self.wfile.write(bytes([0x81, len(message)]) + message)
        self.rfile.read(1)  # whatever the customer says, it is goodbye
        self.close_connection = True


ThreadingHTTPServer(("127.0.0.1", 8001), Answer).serve_forever()
