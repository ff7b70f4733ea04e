"""Keep credentials out of logs, errors and the command line.

Errors of drivers quote connection strings freely, so a registry passes every text of theirs through
:func:`scrub` before it becomes the message of a ``RegistryUnavailable``.
"""

from __future__ import annotations

import re
from urllib.parse import unquote

from runguard_otel.errors import SettingsError

__all__ = ["PERCENT_ENCODE", "redact_url", "scrub", "unreadable"]

PERCENT_ENCODE = "percent-encode what is special in its user and password, for example %5B for ["

_SECRET_WORDS = r"pass(?:word|wd|phrase)?|secret(?:_access)?_?(?:key)?|token|credential"
# Everything up to the last @ may be a password: people forget to quote "/", "?" and "@" in them.
_USERINFO = re.compile(r"(?<=://)([^/?#\s]*?:)?([^\s]*)@")
_IN_URL = re.compile(r"(?s)(?<=://)([^/?#\s]*?:)?(.*)@")  # the same where all of it is one URL
_NO_SLASHES = re.compile(r"[\w+.-]+:")  # "redis:/:password", without a host
_OPTION = re.compile(rf"(?i)([\w.-]*(?:{_SECRET_WORDS})[\w.-]*\s*=\s*)('[^']*'|[^&\s#]*)")


def redact_url(url: str) -> str:
    """The URL as it may be shown: user, host, path and options, but no password.

    Args:
        url: A URL, well formed or not, or a ``key=value`` connection string.
    """
    shown = _IN_URL.sub(_hide, _OPTION.sub(r"\1***", url))
    if _slipped(shown):  # what is the password in it?
        return f"***@{shown.rpartition('@')[2]}"
    slip = None if "://" in shown else _NO_SLASHES.match(shown)
    return f"{slip[0]}***" if slip else shown


def _slipped(url: str) -> bool:
    """Whether something stands before an @ that no ``://`` makes a user and a password."""
    before, at, _ = url.partition("@")
    return bool(at) and "://" not in before


def _redacted(text: str) -> str:
    return _USERINFO.sub(_hide, _OPTION.sub(r"\1***", text))


def _hide(found: re.Match[str]) -> str:
    user = found[1]
    if user is None:  # a name alone, or a token alone: show neither
        return "***@"
    return f"{user}***@"


def unreadable(url: str) -> SettingsError:
    """What to raise for a ``claims_url`` that cannot be parsed; says what to do about it."""
    return SettingsError(f"claims_url {redact_url(url)!r} cannot be read; {PERCENT_ENCODE}")


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
    found = [match[2] for match in _IN_URL.finditer(url) if match[1]]
    found += [match[2] for match in _OPTION.finditer(url)]
    if _slipped(_OPTION.sub(r"\1***", url)):
        before = url.rpartition("@")[0]
        found += [before, before.partition(":")[2], *re.split("[:/]", before)]
    # A very short secret would blank out innocent letters; redact_url still hides it in a URL.
    both = {form for secret in found for form in (secret, unquote(secret)) if len(form) >= 4}
    return sorted(both, key=len, reverse=True)
