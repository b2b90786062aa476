"""Values known to be secret, in every form in which a program prints them."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from urllib.parse import quote, quote_plus

#: A shorter value is replaced only where it is the whole of a value: it would hide half a record.
SHORTEST_WITHIN_TEXT = 4
_SHORTEST_ENCODED = 8
_HARMLESS = frozenset({"true", "false", "none", "null", "yes", "no", "on", "off"})


def whole_values(secrets: Iterable[str]) -> frozenset[str]:
    """The values that are secrets when nothing stands beside them."""
    return frozenset(each for each in secrets if each and each.lower() not in _HARMLESS)


def pattern_of(secrets: Iterable[str]) -> re.Pattern[str] | None:
    """What finds every form of every secret; the longest form wins. None without secrets."""
    forms = {form for secret in secrets for form in _forms(secret)}
    if not forms:
        return None
    longest_first = sorted(forms, key=lambda form: (-len(form), form))
    return re.compile("|".join(map(re.escape, longest_first)))


def _forms(secret: str) -> Iterator[str]:
    if len(secret) < SHORTEST_WITHIN_TEXT or secret.lower() in _HARMLESS:
        return
    yield secret
    for line in secret.splitlines():
        if len(line.strip()) >= _SHORTEST_ENCODED:
            yield line.strip()
    for escaped in _escaped(secret):
        yield escaped
        yield json.dumps(escaped, ensure_ascii=False)[1:-1]
    yield from (form for form in _encoded(secret) if len(form) >= _SHORTEST_ENCODED)


def _escaped(secret: str) -> Iterator[str]:
    yield json.dumps(secret)[1:-1]
    yield json.dumps(secret, ensure_ascii=False)[1:-1]
    yield repr(secret)[1:-1]
    yield html.escape(secret)
    yield shlex.quote(secret).strip("'")
    yield quote(secret, safe="", errors="replace")
    yield quote(secret, errors="replace")
    yield quote_plus(secret, errors="replace")


def _encoded(secret: str) -> Iterator[str]:
    """Base64 and hex; also base64 of something longer that the secret is a part of.

    Three bytes make four characters, so there are three ways it can lie; the characters that
    depend on its neighbours are left off.
    """
    raw = secret.encode(errors="replace")
    yield raw.hex()
    yield raw.hex().upper()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        yield encode(raw).decode().rstrip("=")
        for offset in range(3):
            shifted = encode(b"\0" * offset + raw).decode().rstrip("=")
            first = (0, 2, 3)[offset]
            whole = (offset + len(raw)) * 8 // 6
            yield shifted[first:whole]
