"""Which keys hold secrets or personal data, judged by their names."""

from __future__ import annotations

import re
from functools import lru_cache

#: Part of a key's name → kind of what it holds. Compared in lower case with ``_`` between words.
_WORDS = {
    "passphrase": "password",
    "password": "password",
    "passwd": "password",
    "pwd": "password",
    "secret": "secret",
    "token": "token",
    "authorization": "authorization",
    "bearer": "authorization",
    "api_key": "api-key",
    "apikey": "api-key",
    "private_key": "private-key",
    "privatekey": "private-key",
    "access_key": "access-key",
    "accesskey": "access-key",
    "encryption_key": "key",
    "signing_key": "key",
    "credential": "credentials",
    "conninfo": "dsn",
    "connection_string": "dsn",
    "cookie": "cookie",
    "webhook_url": "webhook",
    "email": "email",
    "e_mail": "email",
    "phone": "phone",
    "card_number": "card",
    "cardnumber": "card",
}
_WHOLE_NAMES = {
    "auth": "authorization",
    "basic_auth": "authorization",
    "dsn": "dsn",
    "pass": "password",
    "pin": "password",
    "cvc": "card",
    "cvv": "card",
    "ssn": "personal",
    "iban": "personal",
    "fax": "phone",
    "mobile": "phone",
    "webhook": "webhook",
    "session_id": "session",
    "sessionid": "session",
}

#: With one of these as its last word, a key tells something about a secret, not the secret.
_ABOUT = frozenset(
    {
        "age", "algorithm", "at", "bytes", "changed", "count", "counts", "created", "enabled",
        "exists", "expired", "expires", "expiry", "file", "files", "found", "id", "ids", "length",
        "limit", "max", "method", "min", "missing", "mode", "name", "names", "path", "paths",
        "policy", "present", "rate", "required", "rotated", "seconds", "set", "size", "state",
        "status", "total", "ttl", "type", "updated", "usage", "used", "valid", "version",
    }
)  # fmt: skip

#: Values under these are identifiers and measures: their digits are no phone or card numbers.
_MEASURES = frozenset(
    {
        "bytes", "checksum", "counter", "created", "date", "digest", "duration", "elapsed", "end",
        "ended", "epoch", "finished", "gid", "hash", "id", "ids", "inode", "jid", "lsn", "md5",
        "mtime", "atime", "ctime", "ns", "oid", "path", "pid", "port", "revision", "seconds",
        "sequence", "serial", "sha1", "sha256", "size", "start", "started", "time", "timeline",
        "timestamp", "token", "uid", "us", "uuid", "version", "xid",
    }
)  # fmt: skip

_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_BETWEEN = re.compile(r"[^a-z0-9]+")


@lru_cache(maxsize=4096)
def kind_of_key(name: str) -> str:
    """The kind of secret that a key of this name holds, or an empty string."""
    words = _words(name)
    text = "_".join(words)
    if text in _WHOLE_NAMES:
        return _WHOLE_NAMES[text]
    if words and words[-1] in _ABOUT:
        return ""
    if "dsn" in words:
        return "dsn"
    return next((kind for word, kind in _WORDS.items() if word in text), "")


@lru_cache(maxsize=4096)
def is_measure(name: str) -> bool:
    """Whether a key of this name holds an identifier, a time or a measure."""
    words = _words(name)
    return bool(words) and words[-1] in _MEASURES


def _words(name: str) -> list[str]:
    return [word for word in _BETWEEN.split(_CAMEL.sub("_", name[:200]).lower()) if word]


#: When none of these is in a text in lower case, no key in it is suspicious.
HINTS = tuple(
    sorted(
        {
            "pass", "pwd", "secret", "token", "auth", "bearer", "key", "credential", "conninfo",
            "connection", "cookie", "webhook", "mail", "phone", "card", "dsn", "pin", "cvc", "cvv",
            "ssn", "iban", "fax", "mobile", "session",
        }
    )
)  # fmt: skip
