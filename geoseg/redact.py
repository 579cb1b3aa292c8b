"""Names and messages without the secrets that addresses of rasters carry: passwords, signatures, tokens, headers."""

import re
from typing import Any

HIDDEN = "***"
"""Stands where a secret stood."""
_SECRET = r"(?:sig|token|key|secret|pass|pwd|cred|auth|session|header\.|cookie)"
_VALUE = r"(?:(?:Bearer|Basic|Token)[\s+]+[^&;\s'\"]+|[^&;\s'\"]+)"
_WITHIN = r"(?:(?!%3D|%26|%3F)[^=&\s'\"])*"
"""Characters of a name in an address that is a value of another one."""
_DATABASE = r"\b(?:password|passwd|pwd|(?:secret_)?access_key|access_token|api_?key)\s*=\s*"
_RULES = tuple(
    (re.compile(pattern, re.IGNORECASE), hidden)
    for pattern, hidden in (
        # user:password@ behind the scheme of an address, plain and within another address
        (r"(://)[^/\s'\"?#]+@", rf"\1{HIDDEN}@"),
        (r"((?:%3A|:)%2F%2F)(?:(?!%2F|%3F)[^/\s'\"&])+?(%40|@)", rf"\1{HIDDEN}\2"),
        # ?token=..., &X-Amz-Signature=..., /vsicurl?header.Authorization=..., plain and within another address
        (rf"([?&;][^=&;\s'\"]*{_SECRET}[^=&;\s'\"]*=){_VALUE}", rf"\1{HIDDEN}"),
        (rf"((?:%3F|%26){_WITHIN}{_SECRET}{_WITHIN}%3D)(?:(?!%26)[^&\s'\"])+", rf"\1{HIDDEN}"),
        # password=... of a database, secret_access_key=... of a store
        (rf"({_DATABASE})(?:'[^']*'|\"[^\"]*\"|[^\s'\"&;]+)", rf"\1{HIDDEN}"),
        (r"(\b(?:Bearer|Basic)[\s+]+)[A-Za-z0-9._~+/=-]{8,}", rf"\1{HIDDEN}"),
    )
)


def redact(text: str) -> str:
    """Hide the secrets in a name or message; the same text again stays as it is."""
    for pattern, hidden in _RULES:
        text = pattern.sub(hidden, text)
    return text


def redact_all(value: Any) -> Any:
    """Hide the secrets in every text of tables and lists within each other."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, dict):
        return {key: redact_all(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [redact_all(inner) for inner in value]
    return value
