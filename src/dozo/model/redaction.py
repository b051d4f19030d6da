"""Texts without the secrets that somebody put into them: for logs and messages."""

import re

_HIDDEN = "[hidden]"

_SECRETS: tuple[tuple[re.Pattern[str], str], ...] = (
    # Tokens, wherever they stand.
    (re.compile(r"\bdozo_[A-Za-z0-9_\-]{4,}"), f"dozo_{_HIDDEN}"),
    # `Authorization: …` and `"authorization": "…"`; schemes alone too.
    (
        re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?)(?:[A-Za-z]+\s+)?[^\s\"',;}]+"),
        rf"\1{_HIDDEN}",
    ),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=\-]{8,}"), rf"\1 {_HIDDEN}"),
    # The password in an address. Greedy up to the last @: a password may hold one.
    (re.compile(r"([a-zA-Z][a-zA-Z0-9+.\-]*://[^\s/:@\"']*):[^\s\"'/]+@"), rf"\1:{_HIDDEN}@"),
    # password=…, "password": "…", token=… in queries, repr() and JSON.
    (
        re.compile(
            r"(?i)([\"']?\b[a-z_\-]*(?:password|passwd|passphrase|secret|api[_-]?key|token)[\"']?"
            r"\s*[:=]\s*)(\"(?:[^\"\\]|\\.)*\"|'(?:[^'\\]|\\.)*'|[^\s\"'&,;})]+)"
        ),
        rf"\1{_HIDDEN}",
    ),
)


def redacted(text: str) -> str:
    """``text`` with tokens, passwords and the like taken out."""
    for pattern, instead in _SECRETS:
        text = pattern.sub(instead, text)
    return text
