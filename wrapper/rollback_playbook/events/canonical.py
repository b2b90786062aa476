"""One byte sequence for one JSON value, whatever the order of its keys or how it was escaped.

After the ideas of RFC 8785: keys sorted, no white space, UTF-8 without escapes beyond those JSON
demands, no NaN and no infinity. It differs in two places, both so that nothing is lost: keys are
sorted by Unicode code point (RFC 8785: by UTF-16 unit, which differs beyond U+FFFF), and numbers
keep their kind and their digits (``1`` and ``1.0`` stay different; integers of any size stay
exact; floats are written in the shortest form that reads back as the same float, as ``repr``).
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from enum import Enum
from typing import Any

#: Deeper structures are cut; Ansible's results stay below a dozen levels.
MAX_DEPTH = 64
#: Python reads no longer ones back (``sys.set_int_max_str_digits``).
_MAX_INTEGER = 10**4000

_encoder = json.JSONEncoder(
    sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False, check_circular=False
)


def _encoding() -> Callable[[Any], str]:
    """What ``JSONEncoder.encode`` does. That makes its compiled half anew for every value, which
    takes as long as encoding an event."""
    make = getattr(json.encoder, "c_make_encoder", None)
    if make is None:
        return _encoder.encode
    parts = make(
        None, _encoder.default, json.encoder.encode_basestring, None, ":", ",", True, False, False
    )
    return lambda value: "".join(parts(value, 0))


_encode = _encoding()


def canonical(value: Any) -> bytes:
    """The canonical JSON of ``value``. Never raises for data: what JSON lacks is spelled out.

    Lone surrogates become U+FFFD, NaN and the infinities become the strings ``NaN``,
    ``Infinity`` and ``-Infinity``, keys become strings, other objects their text.
    """
    return encoded(value)[1]


def encoded(value: Any) -> tuple[Any, bytes]:
    """What can be written of ``value``, and its canonical JSON.

    The first is ``value`` itself where JSON can hold it as it is, which is nearly always.
    """
    text = encoded_plain(value) if _has_string_keys(value) else None
    if text is not None:
        return value, text
    plain = json_value(value)
    return plain, _encode(plain).encode()


def encoded_plain(value: Any) -> bytes | None:
    """The canonical JSON of what is known to be made of JSON's types and string keys.

    None when it holds a number or a text that JSON lacks all the same.
    """
    try:
        return _encode(value).encode()
    except (TypeError, ValueError, RecursionError):
        return None


def json_value(value: Any, depth: int = 0) -> Any:
    """A copy of ``value`` made only of what JSON can hold."""
    if isinstance(value, Enum):
        return json_value(value.value, depth)
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, str):
        return text_value(value)
    if isinstance(value, (int, float)):
        return _number(value)
    if depth >= MAX_DEPTH:
        return "[cut: too deep]"
    return _container(value, depth + 1)


def text_value(text: str) -> str:
    """``text`` without lone surrogates, as a plain ``str``."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(value: float) -> float | str:
    if isinstance(value, float):
        if math.isnan(value):
            return "NaN"
        return float(value) if math.isfinite(value) else ("Infinity", "-Infinity")[value < 0]
    return int(value) if abs(value) < _MAX_INTEGER else "[cut: integer too large]"


def _container(value: Any, depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_key(key): json_value(each, depth) for key, each in value.items()}
    if isinstance(value, (datetime, date)):
        return value.isoformat()
    if isinstance(value, (bytes, bytearray)):
        return bytes(value).decode(errors="replace")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return json_value(dataclasses.asdict(value), depth)
    if isinstance(value, (set, frozenset)):
        return sorted((json_value(each, depth) for each in value), key=str)
    if isinstance(value, Iterable):
        return [json_value(each, depth) for each in value]
    return text_value(str(value))


def _key(key: Any) -> str:
    plain = json_value(key)
    return plain if isinstance(plain, str) else _encode(plain)


def _has_string_keys(value: Any, depth: int = 0) -> bool:
    """False also for what has to be looked at more closely.

    The encoder would sort ``{10: …, 9: …}`` as numbers and then write strings.
    """
    kind = type(value)
    if kind in _SCALARS:
        return True
    if depth > MAX_DEPTH:
        return False
    if kind is dict:
        for key, each in value.items():
            if type(key) is not str or not _has_string_keys(each, depth + 1):
                return False
        return True
    return kind is list and all(_has_string_keys(each, depth + 1) for each in value)


_SCALARS = frozenset({str, int, float, bool, type(None)})
