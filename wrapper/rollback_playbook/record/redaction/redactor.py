"""What goes through here before it is written or shown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rollback_playbook.events.canonical import canonical, json_value
from rollback_playbook.record.redaction import known, names, patterns, personal
from rollback_playbook.record.redaction.patterns import mark

_LEAST_CARD = 10**12
_MOST_CARD = 10**19
_HINTS = tuple(sorted({*names.HINTS, *patterns.HINTS, "--", "@"}))


class Redactor:
    """Takes out the secrets it was told, and what looks like a secret or like personal data.

    What was taken out is marked with its kind: ``[redacted:url-credentials]``. Doing it twice
    changes nothing more. It is in the path of every event, so what holds nothing suspicious is
    found out by looking for a few words in the whole event.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        listed = [secret for secret in secrets if secret]
        self._whole = known.whole_values(listed)
        self._known = known.pattern_of(listed)

    def data(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """``value`` as JSON can hold it, redacted in keys and values at every depth."""
        plain = json_value(value)
        if not isinstance(plain, dict):
            raise TypeError("an event's data is an object")
        if self._is_clean(canonical(plain).decode()):
            return plain
        return self._mapping(plain, kind="", measure=False)

    def text(self, value: str) -> str:
        """A text of any length, redacted."""
        if value in self._whole:
            return mark("secret")
        return self._text(value, measure=False)

    def _is_clean(self, text: str) -> bool:
        if self._whole or (self._known and self._known.search(text)):
            return False
        lower = text.lower()
        return not any(hint in lower for hint in _HINTS) and not personal.has_numbers(text)

    def _text(self, value: str, *, measure: bool) -> str:
        if self._known is not None:
            value = self._known.sub(mark("secret"), value)
        value = patterns.without_secrets(value)
        if "@" in value:
            value = personal.without_addresses(value)
        return value if measure else personal.without_numbers(value)

    def _value(self, value: Any, *, kind: str, measure: bool) -> Any:
        if isinstance(value, str):
            return self._string(value, kind=kind, measure=measure)
        if isinstance(value, dict):
            return self._mapping(value, kind=kind, measure=measure)
        if isinstance(value, list):
            return self._list(value, kind=kind, measure=measure)
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return value
        return self._number(value, kind=kind, measure=measure)

    def _string(self, value: str, *, kind: str, measure: bool) -> str:
        if value in self._whole:
            return mark("secret")
        if kind and value and not value.startswith("[redacted:"):
            return mark(kind)
        return self._text(value, measure=measure)

    def _number(self, value: float, *, kind: str, measure: bool) -> Any:
        """Numbers under a key such as ``token`` count something or fence something."""
        if kind in ("password", "card", "phone", "personal") or str(value) in self._whole:
            return mark(kind or "secret")
        if measure or isinstance(value, float) or not _LEAST_CARD <= value < _MOST_CARD:
            return value
        return mark("card") if personal.is_card(str(value)) else value

    def _mapping(self, value: dict[str, Any], *, kind: str, measure: bool) -> dict[str, Any]:
        redacted = {}
        for key, each in value.items():
            kept = kind or names.kind_of_key(key)
            counts = measure or names.is_measure(key)
            redacted[self._text(key, measure=False)] = self._value(each, kind=kept, measure=counts)
        return redacted

    def _list(self, value: list[Any], *, kind: str, measure: bool) -> list[Any]:
        """In a list of arguments the secret stands behind its option: ``--password``, ``x``."""
        redacted = []
        follows = ""
        for each in value:
            redacted.append(self._value(each, kind=kind or follows, measure=measure))
            option = isinstance(each, str) and each.startswith("-") and "=" not in each
            follows = names.kind_of_key(each) if option else ""
        return redacted
