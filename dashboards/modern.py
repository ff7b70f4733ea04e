"""From grafanalib's shapes to those of schema 41, which Grafana 11 and newer load as they are."""

from __future__ import annotations

from typing import Any

__all__ = ["DATASOURCE", "PLUGIN_VERSION", "modern"]

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
PLUGIN_VERSION = "11.6.0"


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PANEL = _names(
    "datasource description fieldConfig gridPos id links options pluginVersion "
    "targets title transformations transparent type"
)
_VARIABLE = _names(
    "allValue current hide includeAll label multi name options query refresh regex "
    "skipUrlSync sort type datasource"
)
_DASHBOARD = _names(
    "annotations description editable fiscalYearStartMonth graphTooltip links panels "
    "refresh schemaVersion tags templating time timepicker timezone title uid version"
)
_LINK = _names("asDropdown icon includeVars keepTime tags targetBlank title tooltip type url")
_DEFAULTS = _names("unit decimals min max noValue color thresholds mappings custom")


def modern(board: dict[str, Any]) -> dict[str, Any]:
    """What Grafana stores today. The input is not kept."""
    out = _kept(board, _DASHBOARD)
    out["panels"] = [_panel(p) for p in board["panels"]]
    out["templating"] = {"list": [_variable(v) for v in board["templating"]["list"]]}
    out["links"] = [_kept(link, _LINK) | {"icon": "external link"} for link in board["links"]]
    out["timepicker"] = {}
    out["version"] = 1
    return out


def _kept(found: dict[str, Any], names: frozenset[str]) -> dict[str, Any]:
    return {k: v for k, v in found.items() if k in names and v is not None}


def _panel(panel: dict[str, Any]) -> dict[str, Any]:
    out = _kept(panel, _PANEL)
    kind = out["type"]
    out["pluginVersion"] = PLUGIN_VERSION
    out.pop("transparent", None)
    if not out.get("transformations"):
        out.pop("transformations", None)
    if kind == "text":
        for name in ("targets", "fieldConfig", "datasource"):
            out.pop(name, None)
        return out
    out["datasource"] = DATASOURCE
    config = panel["fieldConfig"]
    defaults = _kept(config["defaults"], _DEFAULTS)
    defaults["mappings"] = []
    for step in defaults.get("thresholds", {}).get("steps", []):
        step.setdefault("value", None)
    if kind == "timeseries":
        defaults.pop("thresholds", None)
        defaults["custom"] = _lines(defaults["custom"])
    elif kind == "table":
        defaults["custom"] = {"align": "auto", "cellOptions": {"type": "auto"}}
    else:
        defaults.pop("custom", None)
    out["fieldConfig"] = {"defaults": defaults, "overrides": config.get("overrides") or []}
    out["options"] = _options(kind, panel.get("options", {}))
    return out


def _lines(custom: dict[str, Any]) -> dict[str, Any]:
    out = {k: v for k, v in custom.items() if v is not None}
    out["scaleDistribution"] = {"type": "linear"}
    out["spanNulls"] = False
    return out


def _options(kind: str, old: dict[str, Any]) -> dict[str, Any]:
    reduce = {"calcs": ["lastNotNull"], "fields": "", "values": False}
    if kind == "timeseries":
        legend = {**old["legend"], "showLegend": old["legend"]["displayMode"] != "hidden"}
        return {**old, "legend": legend}
    if kind == "stat":
        return {**old, "reduceOptions": reduce, "justifyMode": "auto", "wideLayout": True}
    if kind == "bargauge":
        return {
            "displayMode": "gradient",
            "orientation": "horizontal",
            "reduceOptions": reduce,
            "showUnfilled": True,
            "valueMode": "color",
        }
    return {"showHeader": True, "cellHeight": "sm", "sortBy": old.get("sortBy") or []}


def _variable(found: dict[str, Any]) -> dict[str, Any]:
    out = _kept(found, _VARIABLE)
    for name in ("current", "options", "datasource"):
        out.pop(name, None)
    out["hide"] = 0
    if out["type"] != "datasource":
        out["datasource"] = DATASOURCE
        out["query"] = {"query": found["query"], "refId": f"variable-{out['name']}"}
        out["current"] = {"selected": True, "text": ["All"], "value": ["$__all"]}
    else:
        for name in ("allValue", "includeAll", "multi", "sort", "refresh", "regex"):
            out.pop(name, None)
        out["refresh"] = 1
    return out
