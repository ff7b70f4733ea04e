"""``prices.toml`` as JSON: people edit the one, processes read the other in a tenth of the time."""

from __future__ import annotations

import json
import sys
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

from runguard_otel.cost.pricefile import BUILT_IN

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SOURCE = BUILT_IN.with_suffix(".toml")


def generated() -> dict[Path, str]:
    """The file we own, and what it must hold."""
    data = tomllib.loads(SOURCE.read_text("utf-8"), parse_float=Decimal)
    return {BUILT_IN: json.dumps(data, indent=1, default=_text, ensure_ascii=False) + "\n"}


def _text(value: Any) -> str:
    """A date, or a price: as its digits, never through a binary float."""
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, Decimal):
        return str(value)
    raise TypeError(f"prices.toml holds a {type(value).__name__}")
