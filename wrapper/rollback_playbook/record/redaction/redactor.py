"""What goes through here before it is written or shown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from itertools import count
from typing import Any

from rollback_playbook.events.canonical import (
    MAX_DEPTH,
    canonical,
    encoded_plain,
    json_value,
)
from rollback_playbook.record.redaction import known, names, patterns, personal
from rollback_playbook.record.redaction.patterns import mark

_LEAST_CARD = 10**12
_MOST_CARD = 10**19
_NUMBER = re.compile(r"[-+.0-9eE]+")
_LONGEST_REMEMBERED = 200
_MOST_REMEMBERED = 20_000


class Redactor:
    """Takes out the secrets it was told, and what looks like a secret or like personal data.

    What was taken out is marked with its kind: ``[redacted:url-credentials]``. Doing it twice
    changes nothing more. It is in the path of every event, so it remembers which short texts hold
    nothing: names of tasks, modules, phases and fields come again and again.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        listed = [secret for secret in secrets if secret]
        self._whole = known.whole_values(listed)
        self._known = known.pattern_of(listed)
        self._numeric = any(map(_NUMBER.fullmatch, self._whole))
        self._clean: set[str] = set()
        self._clean_keys: set[str] = set()

    @property
    def remembered(self) -> int:
        """How many texts are remembered as holding nothing; bounded."""
        return len(self._clean) + len(self._clean_keys)

    def data(self, value: Mapping[str, Any]) -> dict[str, Any]:
        """``value`` as JSON can hold it, redacted in keys and values at every depth."""
        return self.encoded(value)[0]

    def encoded(self, value: Mapping[str, Any]) -> tuple[dict[str, Any], bytes]:
        """As ``data``, and the canonical JSON of it."""
        if type(value) is dict and self._is_clean_mapping(value, MAX_DEPTH):
            text = encoded_plain(value)
            if text is not None:
                return value, text
        plain = json_value(value)
        if not isinstance(plain, dict):
            raise TypeError("an event's data is an object")
        redacted = self._mapping(plain, kind="", measure=False)
        return redacted, canonical(redacted)

    def text(self, value: str) -> str:
        """A text of any length, redacted."""
        if value in self._clean or self._is_clean_text(value):
            return value
        return self._string(value, kind="", measure=False)

    def _is_clean(self, value: Any, depth: int) -> bool:
        """Whether ``value`` can be written as it is; most events are made of a few words.

        What is not made of JSON's own types, or is too deep, is not.
        """
        kind = type(value)
        if kind is str:
            return value in self._clean or self._is_clean_text(value)
        if kind is int or kind is float:
            return self._is_clean_number(value)
        if kind is dict:
            return depth > 0 and self._is_clean_mapping(value, depth - 1)
        if kind is list:
            return depth > 0 and all(self._is_clean(each, depth - 1) for each in value)
        return value is None or kind is bool

    def _is_clean_mapping(self, value: dict[Any, Any], depth: int) -> bool:
        clean, clean_keys = self._clean, self._clean_keys
        for key, each in value.items():
            if key not in clean_keys and not self._is_clean_key(key):
                return False
            # Nearly everything is a text that was seen before: no call for those.
            if type(each) is str and each in clean:
                continue
            if not self._is_clean(each, depth):
                return False
        return True

    def _is_clean_key(self, key: Any) -> bool:
        clean = type(key) is str and not names.kind_of_key(key) and self._is_clean_text(key)
        if clean and len(self._clean_keys) < _MOST_REMEMBERED:
            self._clean_keys.add(key)
        return clean

    def _is_clean_text(self, text: str) -> bool:
        clean = not (
            text in self._whole
            or "@" in text
            or (self._known is not None and self._known.search(text))
            or patterns.has_secrets(text)
            or personal.has_numbers(text)
        )
        if clean and len(text) <= _LONGEST_REMEMBERED and len(self._clean) < _MOST_REMEMBERED:
            self._clean.add(text)
        return clean

    def _is_clean_number(self, value: float) -> bool:
        return -_LEAST_CARD < value < _LEAST_CARD and not (
            self._numeric and self._is_secret_number(value)
        )

    def _is_secret_number(self, value: float) -> bool:
        text = json.dumps(value)
        return text in self._whole or (
            self._known is not None and self._known.search(text) is not None
        )

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
        if not kind and value in self._clean:
            return value
        if value in self._whole:
            return mark("secret")
        if kind and value and not value.startswith("[redacted:"):
            return mark(kind)
        if self._known is not None:
            value = self._known.sub(mark("secret"), value)
        if patterns.has_secrets(value):
            value = patterns.without_secrets(value)
        if "@" in value:
            value = personal.without_addresses(value)
        if not personal.has_numbers(value):
            return value
        return personal.without_numbers(value, bare=not measure)

    def _number(self, value: float, *, kind: str, measure: bool) -> Any:
        """Numbers under a key such as ``token`` count something or fence something."""
        if kind in ("password", "card", "phone", "personal"):
            return mark(kind)
        if self._is_secret_number(value):
            return mark("secret")
        if measure or isinstance(value, float) or not _LEAST_CARD <= value < _MOST_CARD:
            return value
        return mark("card") if personal.is_card(str(value)) else value

    def _mapping(self, value: dict[str, Any], *, kind: str, measure: bool) -> dict[str, Any]:
        redacted: dict[str, Any] = {}
        for key, each in value.items():
            kept = kind or names.kind_of_key(key)
            counts = measure or names.is_measure(key)
            name = _free(self._string(key, kind="", measure=False), redacted)
            redacted[name] = self._value(each, kind=kept, measure=counts)
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


def _free(name: str, taken: Mapping[str, Any]) -> str:
    """Two keys that look the same once redacted both stay."""
    if name not in taken:
        return name
    return next(each for n in count(2) if (each := f"{name} {n}") not in taken)
