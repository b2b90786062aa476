"""Values known to be secret, in every form in which a program prints them."""

from __future__ import annotations

import base64
import html
import json
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any
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
    return re.compile(_expression(_tree(forms)))


_Tree = dict[str, Any]
_END = ""


def _tree(forms: Iterable[str]) -> _Tree:
    """The forms by their characters: hundreds of them are looked for at once then."""
    tree: _Tree = {}
    for form in forms:
        node = tree
        for character in form:
            node = node.setdefault(character, {})
        node[_END] = {}
    return tree


def _expression(tree: _Tree) -> str:
    """Longest first: an end counts only when nothing goes on behind it."""
    prefix = ""
    while len(tree) == 1 and _END not in tree:
        ((character, tree),) = tree.items()
        prefix += re.escape(character)
    branches = [re.escape(c) + _expression(below) for c, below in sorted(tree.items()) if c != _END]
    if not branches:
        return prefix
    optional = "?" if _END in tree else ""
    return f"{prefix}(?:{'|'.join(branches)}){optional}"


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
