"""Reads a price file, and says in words what is wrong with it."""

from __future__ import annotations

import json
import stat
import sys
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

from runguard_otel.cost.price import OURS, Price, PriceBookError
from runguard_otel.cost.rates import METERS, Rounding

__all__ = ["BUILT_IN", "PriceFile", "built_in", "read"]

BUILT_IN: Final = Path(__file__).with_name("prices.json")
"""Generated from ``prices.toml``: TOML takes its parser's import and milliseconds, in every job."""
CURRENCY: Final = "USD"  # the unit of runguard.cost.*; one metric cannot add two currencies
COMPONENTS: Final = ("transport", "agent", "stt", "llm", "tts")
PLANS: Final = ("ship", "scale")
REQUIRED: Final = ("component", "provider", "model", "rates", "source", "date")
MAX_BYTES: Final = 4_000_000
KEYS: Final = (*REQUIRED, "plan", "per", "rounding", "max_prompt", "currency", "note")


class PriceFile(NamedTuple):
    """A file's rows, provider aliases and version."""

    rows: list[Price]
    aliases: dict[str, str]
    version: str


@lru_cache(maxsize=1)
def built_in() -> PriceFile:
    """Our own rows, read once: where jobs are forked, for all of them. Do not change them."""
    return read(BUILT_IN, OURS)


def read(path: Path, origin: str) -> PriceFile:
    """Read one price file.

    Args:
        path: The file.
        origin: What messages call it.

    Raises:
        PriceBookError: If it is missing, unreadable, or a row cannot be used.
    """
    try:
        data = _parse(path)
    except FileNotFoundError:
        raise PriceBookError(
            f"{origin}: no such file; RUNGUARD_PRICES must name a price file"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: not UTF-8, or not TOML
        raise PriceBookError(f"{origin}: cannot be read: {error}") from error
    rows = data.get("price", [])
    if not isinstance(rows, list) or not rows:
        raise PriceBookError(f"{origin}: has no [[price]] row")
    aliases = data.get("aliases", {})
    if not isinstance(aliases, dict) or not all(isinstance(v, str) for v in aliases.values()):
        raise PriceBookError(f"{origin}: [aliases] must map names to names")
    unknown = set(data) - {"price", "aliases", "version"}
    if unknown:
        raise PriceBookError(f"{origin}: unknown table {sorted(unknown)[0]!r}")
    parsed = [_row(raw, f"{origin}: row {n}", origin) for n, raw in enumerate(rows, 1)]
    return PriceFile(parsed, dict(aliases), str(data.get("version", "")))


def _parse(path: Path) -> dict[str, Any]:
    state = path.stat()
    if not stat.S_ISREG(state.st_mode):  # reading a pipe or a device would wait for ever
        raise OSError("not a regular file")
    if state.st_size > MAX_BYTES:
        raise OSError(f"larger than {MAX_BYTES:,} bytes, so it is no price file")
    text = path.read_text("utf-8")
    if path == BUILT_IN:
        data: dict[str, Any] = json.loads(text)
        for row in data["price"]:
            row["date"] = date.fromisoformat(row["date"])
        return data
    if sys.version_info >= (3, 11):
        import tomllib
    else:
        import tomli as tomllib
    # Decimal from the text of the number: a price never goes through a binary float.
    return tomllib.loads(text, parse_float=Decimal)


def _row(raw: Any, where: str, origin: str) -> Price:
    if not isinstance(raw, dict):
        raise PriceBookError(f"{where}: must be a table")
    where = f"{where} ({raw.get('provider', '?')} {raw.get('model', '?')})"
    _check_words(raw, where)
    rates, rounding = raw["rates"], raw.get("rounding", {})
    if not isinstance(rates, dict):
        raise PriceBookError(f"{where}: rates must be a table of prices by meter")
    for meter in rates:
        if meter not in METERS:
            raise PriceBookError(f"{where}: no meter {meter!r}; meters: {', '.join(METERS)}")
    if not isinstance(rounding, dict) or set(rounding) - {"increment", "minimum"}:
        raise PriceBookError(f"{where}: rounding takes increment and minimum")
    models = raw["model"] if isinstance(raw["model"], list) else [raw["model"]]
    if not all(isinstance(m, str) and m for m in models):
        raise PriceBookError(f"{where}: model must be a name or a list of names")
    per = _number(raw.get("per", 1), where, "per")
    if not per:
        raise PriceBookError(f"{where}: per must be > 0")
    return Price(
        component=raw["component"],
        provider=str(raw["provider"]).lower(),
        models=tuple(m.lower() for m in models),
        rates={meter: _number(rate, where, meter) for meter, rate in rates.items()},
        source=str(raw["source"]),
        day=raw["date"],
        plan=raw.get("plan", ""),
        per=per,
        rounding=Rounding(**{k: _number(v, where, f"rounding.{k}") for k, v in rounding.items()}),
        max_prompt=int(_number(raw.get("max_prompt", 0), where, "max_prompt")),
        note=str(raw.get("note", "")),
        origin=origin,
    )


def _check_words(raw: dict[str, Any], where: str) -> None:
    for name in REQUIRED:
        if not raw.get(name):
            raise PriceBookError(f"{where}: {name} is missing")
    for name in raw:
        if name not in KEYS:
            raise PriceBookError(f"{where}: unknown key {name!r}; known: {', '.join(KEYS)}")
    if raw["component"] not in COMPONENTS:
        raise PriceBookError(f"{where}: component must be one of {', '.join(COMPONENTS)}")
    if raw.get("plan", "") not in ("", *PLANS):
        raise PriceBookError(f"{where}: plan must be one of {', '.join(PLANS)}")
    if raw.get("currency", CURRENCY) != CURRENCY:
        raise PriceBookError(
            f"{where}: currency {raw['currency']!r} cannot be used: the metrics count {CURRENCY}, "
            "and two currencies do not add up; convert it and name the rate in source"
        )
    if not isinstance(raw["date"], date) or isinstance(raw["date"], datetime):
        raise PriceBookError(
            f"{where}: date must be a date such as 2026-11-23, without quotes or a time"
        )


def _number(value: Any, where: str, name: str) -> Decimal:
    try:
        number = value if isinstance(value, Decimal) else Decimal(value)
    except (InvalidOperation, TypeError, ValueError):
        raise PriceBookError(f"{where}: {name}={value!r} is not a number") from None
    if isinstance(value, bool) or not number.is_finite() or number < 0:
        raise PriceBookError(f"{where}: {name}={value!r} must be a number >= 0")
    return number
