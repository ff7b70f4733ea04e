"""Keep credentials out of logs, errors and the command line.

Errors of drivers quote connection strings freely, so a registry passes every text of theirs through
:func:`scrub` before it becomes the message of a ``RegistryUnavailable``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

__all__ = ["redact_url", "scrub"]

_SECRET_WORDS = r"pass(?:word|wd|phrase)?|secret(?:_access)?_?(?:key)?|token|credential"
# Everything up to the last @ may be a password: people forget to quote "/", "?" and "@" in them.
_USERINFO = re.compile(r"(?<=://)([^/?#\s]*?:)?([^\s]*)@")
_OPTION = re.compile(rf"(?i)([\w.-]*(?:{_SECRET_WORDS})[\w.-]*\s*=\s*)('[^']*'|[^&\s#]*)")


def redact_url(url: str) -> str:
    """The URL as it may be shown: user, host, path and options, but no password.

    Args:
        url: A URL, well formed or not, or a ``key=value`` connection string.
    """
    shown = _redacted(url)
    if "://" not in shown and "@" in shown:  # a slip of the pen: what is the password in it?
        return f"***@{shown.rpartition('@')[2]}"
    return shown


def _redacted(text: str) -> str:
    return _USERINFO.sub(_hide, _OPTION.sub(r"\1***", text))


def _hide(found: re.Match[str]) -> str:
    user = found[1]
    if user is None:  # a name alone, or a token alone: show neither
        return "***@"
    return f"{user}***@"


def scrub(text: str, url: str = "") -> str:
    """A driver's message without credentials.

    Args:
        text: Any text; URLs and ``password=...`` in it are redacted.
        url: The URL in use; its password is removed wherever it appears, quoted or not.
    """
    for secret in _secrets(url):
        text = text.replace(secret, "***")
    return _redacted(text)


def _secrets(url: str) -> list[str]:
    found = [match[2] for match in _USERINFO.finditer(url) if match[1]]
    found += [match[2] for match in _OPTION.finditer(url)]
    if "://" not in url and "@" in url:
        found += re.split("[:/]", url.rpartition("@")[0])
    # A very short secret would blank out innocent letters; redact_url still hides it in a URL.
    both = {form for secret in found for form in (secret, unquote(secret)) if len(form) >= 4}
    return sorted(both, key=len, reverse=True)
