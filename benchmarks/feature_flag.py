"""From ``feature_flag`` to the first evaluation that sees it, by an OpenFeature client.

Run it as ``python benchmarks/feature_flag.py``. The client is in this process and reads the file
by flagd's file provider, which looks for a new one every ``--poll-ms``. The time runs from the
start of the module's process, start included; ``sed -i`` shows what the client alone takes.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from openfeature import api
from openfeature.client import OpenFeatureClient
from valkey_server import run_module

_FLAG = {"state": "ENABLED", "variants": {"on": True, "off": False}, "defaultVariant": "on"}


def client_of(path: Path) -> OpenFeatureClient:
    from openfeature.contrib.provider.flagd import FlagdProvider
    from openfeature.contrib.provider.flagd.config import ResolverType

    api.set_provider(
        FlagdProvider(resolver_type=ResolverType.FILE, offline_flag_source_path=str(path))
    )
    return api.get_client()


def ours(path: Path, variant: str) -> None:
    run_module("feature_flag", {"path": str(path), "flags": {"checkout": variant}})


def sed(path: Path, variant: str) -> None:
    command = f's/"defaultVariant": "[a-z]*"/"defaultVariant": "{variant}"/'
    subprocess.run(["sed", "-i", command, str(path)], check=True)


def seen_after(client: OpenFeatureClient, path: Path, act: Callable[[Path, str], None]) -> float:
    """Seconds until the client has the other value."""
    before = client.get_boolean_value("checkout", default_value=True)
    begun = time.monotonic()
    act(path, "off" if before else "on")
    while client.get_boolean_value("checkout", default_value=before) == before:
        if time.monotonic() > begun + 60:
            raise SystemExit("the client never saw the change")
        time.sleep(0.002)
    return time.monotonic() - begun


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--runs", type=int, default=10)
    parser.add_argument("--poll-ms", type=int, default=200)
    arguments = parser.parse_args()
    os.environ["FLAGD_DEADLINE_MS"] = str(arguments.poll_ms)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "flags.json")
        path.write_text(json.dumps({"flags": {"checkout": _FLAG}}), encoding="ascii")
        client = client_of(path)
        print(f"until a client that looks every {arguments.poll_ms} ms sees the flag")
        for label, act in {"feature_flag": ours, "sed -i": sed}.items():
            times = [seen_after(client, path, act) for _run in range(arguments.runs)]
            middle, worst = statistics.median(times), max(times)
            print(f"{label:14} median {middle:6.3f} s   worst {worst:6.3f} s", flush=True)
        api.shutdown()


if __name__ == "__main__":
    main()
