"""Personal data that may stand in values from an application: addresses, phones, cards.

The forms are narrow on purpose. Timestamps, UUIDs, hashes, versions, log positions, ports and
byte counts are full of digits, and a record without them proves nothing.
"""

from __future__ import annotations

import re

from rollback_playbook.record.redaction.patterns import mark

_LOCAL_PART = re.compile(r"[^\s@<>()\[\],;:\"'\\/=|]{1,64}\Z")
_DOMAIN = re.compile(r"@((?:[^\W_](?:[\w-]{0,61}[^\W_])?\.){1,8}(?P<top>[^\W\d_]{2,24}))")
#: ``name@instance.service`` is a unit of systemd; ``git@host`` an address of code.
_UNITS = frozenset(
    {"service", "socket", "timer", "mount", "slice", "target", "scope", "path", "device", "swap"}
)
_NO_PERSON = frozenset({"git", "hg", "svn"})
_LONGEST_LOCAL_PART = 64

#: Looked for at every place a number begins, since a digit before may belong to something else.
_CARD = re.compile(
    r"(?<![\w.+/-])(?=("
    r"[2-6]\d{3}([ -])\d{4}\2\d{4}\2\d{4}(?:\2\d{1,3})?|3\d{3}([ -])\d{6}\3\d{4,5}|[2-6]\d{12,18}"
    r")(?![\w/-]|\.\w))"
)
_BESIDE_NUMBER = re.compile(r"[\w.+/-]")

_MARK_BEFORE = re.compile(r"\[redacted:[a-z-]+\]\Z")
_LONGEST_MARK = 32

_INTERNATIONAL = re.compile(r"\+[1-9]\d{0,2}(?:[ .-]?\(?\d{1,4}\)?){2,6}")
_NATIONAL = re.compile(r"\(\d{3}\)[ ]?\d{3}[-. ]\d{4}|(?:1-)?\d{3}-\d{3}-\d{4}|\d{3}\.\d{3}\.\d{4}")
_FEWEST_DIGITS = 8
_MOST_DIGITS = 15


def without_addresses(text: str) -> str:
    """``text`` with a mark in place of e-mail addresses. Time grows with the length only."""
    parts: list[str] = []
    done = 0
    at = text.find("@")
    while at >= 0:
        domain = _DOMAIN.match(text, at)
        local = _LOCAL_PART.search(text[max(done, at - _LONGEST_LOCAL_PART) : at])
        if domain and local and not _is_no_person(local[0], domain["top"]):
            parts += [text[done : at - len(local[0])], mark("email")]
            done = domain.end()
        at = text.find("@", max(at + 1, done))
    return "".join([*parts, text[done:]]) if parts else text


def _is_no_person(local: str, top: str) -> bool:
    return top.lower() in _UNITS or local.lower() in _NO_PERSON


def without_numbers(text: str, *, bare: bool = True) -> str:
    """``text`` with marks in place of payment cards and telephone numbers.

    Without ``bare``, digits in a row are taken for an identifier or a measure.
    """
    text = _without_cards(text, bare=bare)
    text = _INTERNATIONAL.sub(_phone, text)
    return _NATIONAL.sub(_phone, text)


def has_numbers(text: str) -> bool:
    """Whether ``without_numbers`` might find something; cheap, since most texts have nothing."""
    return _NUMBERS.search(text) is not None or ("+" in text and _PLUS.search(text) is not None)


#: Begins with digits and nothing else, which is what the search skips to: ``555)``,
#: ``555-123-4567``, ``4111 1111`` and thirteen digits in a row.
_NUMBERS = re.compile(
    r"[0-9][0-9][0-9](?:\)|[-.][0-9]{3}[-.][0-9]{4}|[0-9](?:[ -][0-9]{4}|[0-9]{9}))"
)
_PLUS = re.compile(r"\+[1-9]")


def is_card(number: str) -> bool:
    """Whether these digits are a payment card's: an issuer's prefix and length, and Luhn's sum."""
    return _has_issuer(number) and _luhn(number)


def _without_cards(text: str, *, bare: bool) -> str:
    parts: list[str] = []
    done = 0
    for match in _CARD.finditer(text):
        number = match[1].replace(" ", "").replace("-", "")
        looked_at = match.start() >= done and (bare or number != match[1])
        if looked_at and is_card(number):
            parts += [text[done : match.start()], mark("card")]
            done = match.end(1)
    return "".join([*parts, text[done:]]) if parts else text


def _phone(match: re.Match[str]) -> str:
    digits = sum(map(str.isdigit, match[0]))
    if _stands_in_something(match) or not _FEWEST_DIGITS <= digits <= _MOST_DIGITS:
        return match[0]
    return mark("phone")


def _stands_in_something(match: re.Match[str]) -> bool:
    """A number that goes on beside the match is part of a time, an id, a path or a version.

    What stands beside a mark stood beside something else before: judged anew it would be another.
    """
    text, start, end = match.string, match.start(), match.end()
    before = text[start - 1] if start else ""
    after = text[end] if end < len(text) else ""
    if _MARK_BEFORE.search(text, max(0, start - _LONGEST_MARK), start):
        return True
    ends_sentence = after in (".", "-") and not text[end + 1 : end + 2].isalnum()
    return bool(_BESIDE_NUMBER.match(before) or text.startswith("[redacted:", end)) or (
        bool(_BESIDE_NUMBER.match(after)) and not ends_sentence
    )


def _has_issuer(number: str) -> bool:
    """ISO/IEC 7812 ranges of the networks in use, with the lengths they issue."""
    length, two, four = len(number), int(number[:2]), int(number[:4])
    if number[0] == "4":
        return length in (13, 16, 19)
    if 51 <= two <= 55 or 2221 <= four <= 2720:
        return length == 16
    if two in (34, 37):
        return length == 15
    if two in (36, 38, 39) or 300 <= int(number[:3]) <= 305:
        return length == 14
    return (two in (35, 60, 62, 63, 64, 65, 67)) and 16 <= length <= 19


def _luhn(number: str) -> bool:
    total = 0
    for position, digit in enumerate(reversed(number)):
        value = int(digit) * (2 if position % 2 else 1)
        total += value - 9 if value > 9 else value
    return total % 10 == 0
