"""Secrets and personal data that give themselves away by their form.

Every expression is bounded or anchored on a literal, so that the time grows with the length of
the text and with nothing else.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from rollback_playbook.record.redaction.names import kind_of_key


def mark(kind: str) -> str:
    """What stands where something was."""
    return f"[redacted:{kind}]"


_PEM = re.compile(
    r"-----BEGIN [A-Z0-9 ]{1,40}-----.*?(?:-----END [A-Z0-9 ]{1,40}-----|\Z)", re.DOTALL
)
_VAULT = re.compile(r"\$ANSIBLE_VAULT;[0-9.]{3,5};[A-Z0-9]{3,10}(?:;[\w.-]{1,80})?[\s0-9a-f\\n]*")
_URL_USER = re.compile(
    r"(?<=://)[^\s/:@\"'?#<>]{0,256}:(?!\d{1,5}(?:[/?#]|$))[^\s\"'<>]{1,512}(?=@)"
)
_URL_TOKEN = re.compile(r"(?<=://)[^\s/:@\"'?#<>\[\]]{20,512}(?=@)")
_URL_QUERY = re.compile(
    r"(?P<name>[?&](?:sig|signature|x-amz-signature|x-amz-credential|x-goog-signature|key|code)=)"
    r"[^&\s\"'<>]+",
    re.IGNORECASE,
)
_SECRET_URL = re.compile(r"(?P<name>hooks\.slack\.com/(?:services|workflows)/)[\w/-]+")
_AUTHORIZATION = re.compile(
    r"(?P<name>authorization[\"'\\]{0,3}\s{0,3}[:=]\s{0,3}[\"'\\]{0,3})"
    r"(?:(?:bearer|basic|digest|negotiate|token|apikey)\s{1,3})?[^\s\"',;\\]+",
    re.IGNORECASE,
)
_COOKIES = re.compile(r"(?P<name>\bcookie:\s{0,3})(?!\[redacted:)[^\r\n\"']+", re.IGNORECASE)
_BEARER = re.compile(r"(?P<name>\bbearer\s{1,3})(?P<value>[\w.~+/=-]{8,})", re.IGNORECASE)
_TOKENS = re.compile(
    r"\b(?:"
    r"gh[pousr]_[A-Za-z0-9]{30,255}|github_pat_\w{20,255}|glpat-[\w-]{20,255}"
    r"|xox[abeprs]-[\w-]{10,255}|[sr]k_(?:live|test)_[A-Za-z0-9]{10,255}|AIza[\w-]{35}"
    r"|npm_[A-Za-z0-9]{36}|pypi-[\w-]{50,255}"
    r"|eyJ[\w-]{8,4000}\.eyJ[\w-]{8,8000}\.[\w-]{0,1000}"
    r")"
)
_AWS = re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}\b")
_OPTION = re.compile(
    r"(?<![\w-])(?P<name>--?(?P<key>[a-z][\w-]{0,60})(?:=|\s{1,3}))(?P<value>\"[^\"]*\"|'[^']*'|[^\s\"'-]\S*)",
    re.IGNORECASE,
)
_NAMED = re.compile(
    r"(?<!unexpected )"
    r"(?P<key>(?:pass(?:word|wd|phrase)|pwd|secret|token|api[_-]?key|private[_-]?key"
    r"|access[_-]?key|credential|cookie|\bdsn)[\w.-]{0,40})"
    r"(?P<between>[\"'\\]{0,4}\s{0,3}(?:=>|[=:])\s{0,3})"
    r"(?P<value>\"[^\"\\]*(?:\\.[^\"\\]*)*\"|\\{1,3}\"[^\"]*\"|'[^']*'|[^\s\"',;&)}\]]+)",
    re.IGNORECASE | re.DOTALL,
)
_SAYS_NOTHING = frozenset(
    {
        "", "true", "false", "none", "null", "yes", "no", "required", "optional", "omitted",
        "missing", "invalid", "expired", "unknown", "undefined", "[redacted",
    }
)  # fmt: skip

Replace = Callable[[re.Match[str]], str]


def _named(match: re.Match[str]) -> str:
    """``key = value`` in a text; what the value of such a key may be as well is left alone."""
    kind = kind_of_key(match["key"].rstrip(".-"))
    value = match["value"].strip("\"'\\")
    counted = value.isdigit() and kind != "password"
    if not kind or value.lower() in _SAYS_NOTHING or value.startswith("[redacted:") or counted:
        return match[0]
    quoted = match["value"][:1] in "\"'"
    quote = match["value"][:1] if quoted else ""
    return f"{match['key']}{match['between']}{quote}{mark(kind)}{quote}"


def _option(match: re.Match[str]) -> str:
    kind = kind_of_key(match["key"])
    if not kind or match["value"].startswith("[redacted:"):
        return match[0]
    return match["name"] + mark(kind)


def _bearer(match: re.Match[str]) -> str:
    """``bearer authentication`` is no token: those have digits or are long."""
    value = match["value"]
    if len(value) < 20 and not any(map(str.isdigit, value)):
        return match[0]
    return match["name"] + mark("authorization")


def _after_name(kind: str) -> Replace:
    def replace(match: re.Match[str]) -> str:
        return match["name"] + mark(kind)

    return replace


def _whole(kind: str) -> Replace:
    def replace(_match: re.Match[str]) -> str:
        return mark(kind)

    return replace


_QUERY_NAMES = tuple(
    mark + name
    for mark in "?&"
    for name in ("sig=", "signature=", "x-amz-", "x-goog-", "key=", "code=")
)
_TOKEN_STARTS = (
    "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_", "glpat-", "xox", "sk_live_", "sk_test_",
    "rk_live_", "rk_test_", "aiza", "npm_", "pypi-", "eyj",
)  # fmt: skip
_NAMES = (
    "password", "passwd", "passphrase", "pwd", "secret", "token", "apikey", "api_key", "api-key",
    "privatekey", "private_key", "private-key", "accesskey", "access_key", "access-key",
    "credential", "cookie", "dsn",
)  # fmt: skip
_OPTIONS = (*_NAMES, "-pass", "-auth", "-pin", "-conninfo", "-connection-string", "-webhook")

#: (what must be in the lower-cased text, expression, replacement), in the order of use.
_RULES: tuple[tuple[tuple[str, ...], re.Pattern[str], Replace], ...] = (
    (("-----begin",), _PEM, _whole("pem")),
    (("$ansible_vault",), _VAULT, _whole("vault")),
    (("://",), _URL_USER, _whole("url-credentials")),
    (("://",), _URL_TOKEN, _whole("url-credentials")),
    (("hooks.slack",), _SECRET_URL, _after_name("webhook")),
    (_QUERY_NAMES, _URL_QUERY, _after_name("url-signature")),
    (("authorization",), _AUTHORIZATION, _after_name("authorization")),
    (("cookie:",), _COOKIES, _after_name("cookie")),
    (("bearer",), _BEARER, _bearer),
    (_TOKEN_STARTS, _TOKENS, _whole("token")),
    (("akia", "asia", "abia", "acca"), _AWS, _whole("aws-key")),
    (_NAMES, _NAMED, _named),
    (_OPTIONS, _OPTION, _option),
)  # fmt: skip

#: Short parts of the hints: without any of these there is none of those. The first are of rules
#: that want ``=``, ``:`` or ``-`` as well.
_PARTS_BESIDE_SEPARATORS = (
    "pass", "pwd", "secret", "token", "key", "cred", "cookie", "dsn", "auth", "://", "begin",
    "hooks", "sig", "x-", "code=", "glpat", "xox", "pypi", "-pin", "-conn", "-webh",
)  # fmt: skip
_PARTS = (
    "bearer", "ansible", "gh", "git", "_live_", "_test_", "aiza", "npm_", "eyj", "akia", "asia",
    "abia", "acca",
)  # fmt: skip
_ALL_HINTS = tuple(sorted({hint for hints, _, _ in _RULES for hint in hints}))


def without_secrets(text: str) -> str:
    """``text`` with a mark in place of everything that has the form of a secret."""
    lower = text.lower()
    for hints, expression, replace in _RULES:
        if any(hint in lower for hint in hints):
            text = expression.sub(replace, text)
    return text


def has_secrets(text: str) -> bool:
    """Whether ``without_secrets`` might find something; cheap, since most texts have nothing."""
    lower = text.lower()
    for part in _PARTS:
        if part in lower:
            return _has_hint(lower)
    if not ("=" in text or ":" in text or "-" in text):
        return False
    for part in _PARTS_BESIDE_SEPARATORS:
        if part in lower:
            return _has_hint(lower)
    return False


def _has_hint(lower: str) -> bool:
    return any(hint in lower for hint in _ALL_HINTS)
