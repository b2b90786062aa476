"""What the writer of a record asks of a redaction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol


class Redaction(Protocol):
    """Takes secrets and personal data out of an event's data and texts.

    ``encoded`` gives back the data as they may be written, and their canonical JSON.
    """

    def encoded(self, value: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]: ...

    def text(self, value: str) -> str: ...
