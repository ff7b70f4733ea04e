"""One self-contained page of what was fetched: no server, no network, nothing to install."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from runguard_otel import pages
from runguard_otel.preview.boards import Fetched
from runguard_otel.preview.panels import Shown, Span

__all__ = ["page"]

_INLINE = (
    (re.compile(r"\*\*(.+?)\*\*"), r"<b>\1</b>"),
    (re.compile(r"`(.+?)`"), r"<code>\1</code>"),
    (re.compile(r"\*(.+?)\*"), r"<i>\1</i>"),
)


def page(found: Sequence[Fetched], span: Span, source: str) -> str:
    """The page.

    Args:
        found: The dashboards, in the order of the menu.
        span: The time they show.
        source: Where the data came from, for the reader.
    """
    data = {
        "start": span.first,
        "end": span.end,
        "step": span.step,
        "source": source,
        "boards": [_board(f) for f in found],
    }
    # "</" would end the script element that carries the data.
    text = json.dumps(data, separators=(",", ":")).replace("</", "<\\/")
    filled = pages.fragment("runguard_otel.preview").replace("/*DATA*/null", text)
    return pages.framed("Runguard preview", filled)


def _board(found: Fetched) -> dict[str, Any]:
    chosen = {
        v["label"]: "All" if value == v.get("allValue") else value
        for v in found.board["templating"]["list"]
        if v["type"] != "datasource"
        for value, _ in (found.variables[v["name"]],)
    }
    return {
        "uid": found.board["uid"],
        "title": found.board["title"],
        "description": found.board["description"],
        "variables": chosen,
        "alerts": found.alerts,
        "panels": [_panel(s) for s in found.panels],
    }


def _panel(shown: Shown) -> dict[str, Any]:
    panel = shown.panel
    out: dict[str, Any] = {
        "type": panel["type"],
        "title": panel["title"],
        "description": panel["description"],
        "grid": panel["gridPos"],
        "to": [link["url"].partition("?")[0].rpartition("/")[2] for link in panel["links"]],
    }
    if panel["type"] == "text":
        return out | {"html": _markdown(panel["options"]["content"])}
    defaults = panel["fieldConfig"]["defaults"]
    out |= {
        "unit": defaults["unit"],
        "decimals": defaults.get("decimals"),
        "max": defaults.get("max"),
        "none": defaults["noValue"],
        "steps": defaults.get("thresholds", {}).get("steps", []),
        "colored": defaults["color"]["mode"] == "thresholds",
    }
    if panel["type"] == "table":
        return out | {"columns": _columns(shown), "rows": shown.rows}
    if panel["type"] == "timeseries":
        custom = defaults["custom"]
        out |= {
            "bars": custom["drawStyle"] == "bars",
            "stacked": custom["stacking"]["mode"] == "normal",
            "colors": _colors(shown),
        }
    return out | {"series": [[name, [_short(v) for v in points]] for name, points in shown.series]}


def _colors(shown: Shown) -> dict[str, str]:
    """Series whose name an override matches, with the colour it gives them."""
    found = _properties(shown.panel, "color", "fixedColor").items()
    return {
        name: color
        for name, _ in shown.series
        for pattern, color in found
        if re.fullmatch(pattern, name)
    }


def _columns(shown: Shown) -> list[dict[str, Any]]:
    found = _properties(shown.panel, "mappings", 0)
    mappings: dict[str, Mapping[str, Any]] = {k: v["options"] for k, v in found.items()}
    return [
        {"title": title, "unit": unit, "words": mappings.get(title, {})}
        for title, unit in shown.columns
    ]


def _properties(panel: Mapping[str, Any], name: str, part: Any) -> dict[str, Any]:
    """One part of a property that overrides set for single fields, by field."""
    return {
        o["matcher"]["options"]: p["value"][part]
        for o in panel["fieldConfig"]["overrides"]
        for p in o["properties"]
        if p["id"] == name
    }


def _short(value: float | None) -> float | None:
    return None if value is None else float(f"{value:.6g}")


def _markdown(text: str) -> str:
    """Paragraphs, bold, italics and code; our text panels use no more."""
    text = html.escape(text, quote=False)
    for pattern, replacement in _INLINE:
        text = pattern.sub(replacement, text)
    return "".join(f"<p>{part}</p>" for part in text.split("\n\n"))
