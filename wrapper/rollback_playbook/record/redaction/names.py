"""Which keys hold secrets or personal data, judged by their names."""

from __future__ import annotations

import re
from functools import lru_cache

#: Part of a key's name → kind of what it holds. Compared in lower case, words joined.
_WORDS = {
    "passphrase": "password",
    "password": "password",
    "passwd": "password",
    "pwd": "password",
    "secret": "secret",
    "token": "token",
    "authorization": "authorization",
    "bearer": "authorization",
    "apikey": "api-key",
    "privatekey": "private-key",
    "accesskey": "access-key",
    "encryptionkey": "key",
    "signingkey": "key",
    "credential": "credentials",
    "conninfo": "dsn",
    "connectionstring": "dsn",
    "cookie": "cookie",
    "webhookurl": "webhook",
    "email": "email",
    "phone": "phone",
    "cardnumber": "card",
}
_WHOLE_NAMES = {
    "auth": "authorization",
    "basicauth": "authorization",
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
_BETWEEN = re.compile(r"[_.\- ]+")
_LONGEST_NAME = 200


@lru_cache(maxsize=4096)
def kind_of_key(name: str) -> str:
    """The kind of secret that a key of this name holds, or an empty string."""
    if "[redacted:" in name:
        return ""
    words = _words(name)
    text = "".join(words)
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
    split = _BETWEEN.split(_CAMEL.sub("_", name[:_LONGEST_NAME]).lower())
    return [word for word in split if word]
