"""A shop that says which release it is, and what a book costs."""

import json
import os
from importlib.metadata import version
from pathlib import Path

from waitress import serve

HERE = Path(__file__).resolve().parent


def application(environ, start_response):
    answer = {"release": HERE.name, "host": os.uname().nodename, "waitress": version("waitress")}
    status = "200 OK"
    if environ["PATH_INFO"] == "/price":
        try:
            answer["cents"] = price()
        except ZeroDivisionError:
            status = "500 Internal Server Error"
    start_response(status, [("Content-Type", "application/json")])
    return [json.dumps(answer).encode()]


def price():
    settings = json.loads((HERE / "prices.json").read_text())
    return settings["cents"] // settings["pieces"]


print("shop", HERE.name, "starts", flush=True)
serve(application, listen="0.0.0.0:8000")
