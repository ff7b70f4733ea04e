"""Where notifications go: one URL, and perhaps a key. Both are secrets."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal
from urllib.parse import urlsplit

from runguard_otel.errors import SettingsError

__all__ = ["Address", "Kind"]

Kind = Literal["pagerduty", "slack", "webhook"]

_ALLOWED: Final = (
    "pagerduty://, pagerduty://events.eu.pagerduty.com, https://hooks.slack.com/..., any other "
    "https:// or http:// address, or file:///path of a file that holds one"
)
_HOSTS: Final[dict[str, Kind]] = {
    "events.pagerduty.com": "pagerduty",
    "events.eu.pagerduty.com": "pagerduty",
    "hooks.slack.com": "slack",
}
_KEY_LENGTH = 32  # of an integration key of PagerDuty's Events API v2


@dataclass(frozen=True)
class Address:
    """A parsed ``notify_url``.

    Args:
        kind: What listens there.
        url: Where to post. A secret: with Slack, whoever has it may post.
        key: PagerDuty's integration key, or a bearer token of a webhook.
    """

    kind: Kind
    url: str = field(repr=False)
    key: str = field(default="", repr=False)

    @property
    def shown(self) -> str:
        """How it may be named in a log: what it is and on which host, no path and no key."""
        names = {"pagerduty": "PagerDuty", "slack": "Slack", "webhook": "the webhook"}
        return f"{names[self.kind]} at {urlsplit(self.url).hostname}"

    @classmethod
    def of(cls, url: str, key: str = "") -> Address:
        """Read the two settings.

        Args:
            url: ``pagerduty://[host]``, an address of Slack or a webhook, or ``file:///path``.
                ``pagerduty+https://``, ``slack+https://`` and the same with ``http`` say what
                listens at an address that does not tell by its host.
            key: The key itself, or ``file:///path``.

        Raises:
            SettingsError: If they cannot be used. The message quotes no secret.
        """
        url, key = _read("notify_url", url), _read("notify_key", key)
        try:
            kind, url = _told(url)
            parts = urlsplit(url)
            host = parts.hostname
            _ = parts.port
        except ValueError:
            host = None
        if not host or parts.scheme not in ("https", "http"):
            raise SettingsError(f"notify_url cannot be used: allowed are {_ALLOWED}")
        if parts.username is not None:
            raise SettingsError("notify_url has a user or a password in it; use notify_key")
        kind = kind or _HOSTS.get(host, "webhook")
        if kind == "pagerduty" and len(key) != _KEY_LENGTH:
            raise SettingsError(
                f"notify_key is not the integration key of a PagerDuty Events API v2 integration: "
                f"{_KEY_LENGTH} characters are needed, {len(key)} are there"
            )
        if not key.isascii() or not key.isprintable():
            raise SettingsError("notify_key has characters that no key has")
        return cls(kind, url, key)


def _told(url: str) -> tuple[Kind | None, str]:
    """What listens there, if the scheme says it, and the address without that."""
    if url.startswith("pagerduty://"):
        host = url.removeprefix("pagerduty://").strip("/") or "events.pagerduty.com"
        return "pagerduty", f"https://{host}/v2/enqueue"
    if url.startswith("pagerduty+"):
        return "pagerduty", f"{url.removeprefix('pagerduty+').rstrip('/')}/v2/enqueue"
    if url.startswith("slack+"):
        return "slack", url.removeprefix("slack+")
    return None, url


def _read(name: str, value: str) -> str:
    """The value, or what the file that it names holds."""
    if not value.startswith("file://"):
        return value.strip()
    path = Path(value.removeprefix("file://"))
    try:
        return path.read_text(encoding="utf-8").strip()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        raise SettingsError(f"{name}: {path} cannot be read: {reason}") from None
