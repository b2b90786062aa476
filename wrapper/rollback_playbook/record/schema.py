"""The JSON Schema of a record's events."""

from __future__ import annotations

from pathlib import Path


def schema_text() -> str:
    """The schema as it is in docs/reference/record.schema.json."""
    return (Path(__file__).parent / "record.schema.json").read_text(encoding="utf-8")
