"""Are the ``RUNGUARD_*`` and ``OTEL_*`` variables understood, each of them?

A value that cannot be used is a warning in a worker's log, because a typo must not take calls down.
Here it is broken: somebody set it and it does not hold.
"""

from __future__ import annotations

import os
import re

from runguard_otel.cli.finding import Finding, held_back
from runguard_otel.core.signatures import GuardName
from runguard_otel.errors import SettingsError
from runguard_otel.settings import ENV_PREFIX, Settings

__all__ = ["exporter_findings", "settings_findings"]

EXPORTERS = {
    "OTEL_METRICS_EXPORTER": ("otlp", "prometheus", "console", "none"),
    "OTEL_TRACES_EXPORTER": ("otlp", "console", "none"),
}
"""What each variable may name; anything else is skipped by a worker."""


def settings_findings() -> list[Finding]:
    """What is set, what of it is ignored, and whether the price file can be read."""
    with held_back() as ignored:
        settings = Settings.load()
    found = [Finding(_variable(text), "broken", text) for text in ignored]
    if settings.disabled:
        return [
            *found,
            Finding("settings", "note", "disabled: nothing is patched", "RUNGUARD_DISABLED"),
        ]
    modes = ", ".join(f"{g}={settings.mode_of(g)}" for g in GuardName)
    changed = ", ".join(
        f"{name}={value if Settings.model_fields[name].repr else '...'}"
        for name, value in settings.overrides().items()
    )
    usual = Settings()
    watching = any(settings.mode_of(g) is not usual.mode_of(g) for g in GuardName)
    return [
        Finding("modes", "note" if watching else "ok", modes),
        Finding("settings", "ok", changed or "all defaults"),
        *found,
        *_claims(settings),
        *_prices(settings.prices),
    ]


def _variable(text: str) -> str:
    name = re.search(rf"{ENV_PREFIX}[A-Z0-9_]+", text)
    return name[0] if name else "settings"


def _claims(settings: Settings) -> list[Finding]:
    from runguard_otel.claims.service import check_timing

    try:
        check_timing(settings)
    except SettingsError as error:
        return [Finding("claims", "broken", str(error), "the defaults are used instead")]
    return []


def _prices(path: str) -> list[Finding]:
    from runguard_otel.cost.price import PriceBookError
    from runguard_otel.cost.pricebook import PriceBook

    if not path:
        return []
    try:
        book = PriceBook.load(path)
    except PriceBookError as error:
        advice = "all usage would count as unpriced"
        return [Finding("RUNGUARD_PRICES", "broken", str(error), advice)]
    return [Finding("prices", "ok", f"{path}: {len(book.rows)} prices with ours")]


def exporter_findings() -> list[Finding]:
    """A name in an ``OTEL_*_EXPORTER`` variable that a worker does not know."""
    found = []
    for variable, known in EXPORTERS.items():
        names = [n.strip() for n in os.environ.get(variable, "").lower().split(",")]
        for name in dict.fromkeys(n for n in names if n and n not in known):
            detail = f"{name!r} is not known and ignored; allowed: {', '.join(known)}"
            found.append(Finding(variable, "broken", detail))
    return found
