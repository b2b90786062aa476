"""A small service, as somebody else might have written it: it says its version, or fails.

What it does wrong is baked into its image, in /app/release.json. When it is told to end it finishes
what it has begun, as servers do.
"""

import json
import os
import signal
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

RELEASE = json.loads(Path("/app/release.json").read_text())
#: Between the headers of an answer and its body: enough for its end to come in between.
PAUSE_SECONDS = 0.03
#: Whoever makes this file in a container has mended what is wrong with it.
MENDED = Path("/tmp/mended")

idle = threading.Condition()
begun = set()


class Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        with idle:
            begun.add(self)
        try:
            self.answer()
        finally:
            with idle:
                begun.remove(self)
                idle.notify_all()

    def answer(self):
        bad = [] if MENDED.exists() else RELEASE.get("fails", [])
        status = 500 if self.path in bad or (self.path != "/health" and "*" in bad) else 200
        body = json.dumps({"version": RELEASE["version"], "path": self.path}).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        time.sleep(PAUSE_SECONDS)
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def end():
    """With ``idle`` held for good: what has not begun by now never does."""
    idle.acquire()
    idle.wait_for(lambda: not begun)
    os._exit(0)


if RELEASE.get("crashes"):
    print("no module named shop.settings", flush=True)
    sys.exit(3)
time.sleep(RELEASE.get("starts_in", 0.5))
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=end).start())
print("shop", RELEASE["version"], "listens", flush=True)
ThreadingHTTPServer(("0.0.0.0", 8000), Answer).serve_forever()
