"""Boards as grafanalib objects: the only module that knows grafanalib.

grafanalib writes the shapes of older Grafanas; ``modern`` makes today's of them.
"""

from __future__ import annotations

import json
from typing import Any, cast

from grafanalib import core as g
from grafanalib._gen import DashboardEncoder

from dashboards.model import Board, Kind, Panel, Where
from dashboards.modern import DATASOURCE, modern
from runguard_otel.telemetry.catalogue import ATTRIBUTES, prometheus_label, prometheus_name

__all__ = ["SCHEMA_VERSION", "TAG", "dashboard", "render"]

SCHEMA_VERSION = 41
TAG = "runguard"
_NAME = "${datasource}"
_COLORS = {"wasted": "red", "avoided": "green"}
"""By the first word of a legend; owners are told apart by shades."""
_HEARTBEAT = prometheus_name("runguard.worker.heartbeat")
_AGENT = prometheus_label("agent")
_VARIABLES = "${__url_time_range}&${service:queryparam}&${agent:queryparam}&${cluster:queryparam}"


class _Target(g.Target):  # type: ignore[misc]  # grafanalib has no types
    """A Prometheus query with the fields grafanalib does not know."""

    exemplar = False

    def to_json_data(self) -> dict[str, Any]:
        """As Grafana's Prometheus data source takes it."""
        return {
            "datasource": DATASOURCE,
            "editorMode": "code",
            "exemplar": self.exemplar,
            "expr": self.expr,
            "format": self.format,
            "instant": self.instant,
            "legendFormat": self.legendFormat,
            "range": not self.instant,
            "refId": self.refId,
        }


def dashboard(board: Board) -> dict[str, Any]:
    """The JSON of one dashboard."""
    made = g.Dashboard(
        title=board.title,
        uid=board.uid,
        description=board.description,
        tags=[TAG, "livekit"],
        editable=False,
        schemaVersion=SCHEMA_VERSION,
        timezone="browser",
        refresh="30s",
        time=g.Time("now-3h", "now"),
        graphTooltip=g.GRAPH_TOOLTIP_MODE_SHARED_CROSSHAIR,
        links=[
            g.DashboardLink(
                asDropdown=True,
                includeVars=True,
                keepTime=True,
                tags=[TAG],
                title="Runguard",
                type="dashboards",
            )
        ],
        templating=g.Templating(list=_variables()),
        annotations=g.Annotations(list=[_alerts()]),
        panels=[_panel(p, where) for p, where in board.placed()],
    ).auto_panel_ids()
    text = json.dumps(made.to_json_data(), cls=DashboardEncoder)
    return modern(cast("dict[str, Any]", json.loads(text)))


def render(board: Board) -> str:
    """The committed text of one dashboard."""
    return json.dumps(dashboard(board), indent=2, sort_keys=True) + "\n"


def _variables() -> list[Any]:
    def query(name: str, title: str, text: str) -> Any:
        return g.Template(
            name=name,
            label=title,
            query=text,
            dataSource=_NAME,
            includeAll=True,
            multi=True,
            allValue=".*",
            refresh=g.REFRESH_ON_TIME_RANGE_CHANGE,
            sort=g.SORT_ALPHA_ASC,
        )

    signatures = prometheus_name("runguard.signatures")
    mine = '{cluster=~"$cluster", service_name=~"$service"}'
    return [
        g.Template(name="datasource", label="Data source", type="datasource", query="prometheus"),
        query("cluster", "Cluster", f"label_values({_HEARTBEAT}, cluster)"),
        query(
            "service",
            "Service",
            f'label_values({_HEARTBEAT}{{cluster=~"$cluster"}}, service_name)',
        ),
        query("agent", "Agent", f"label_values({signatures}{mine}, {_AGENT})"),
    ]


def _alerts() -> dict[str, Any]:
    matchers = 'alertstate="firing", alertname=~"Runguard.+", alertname!="RunguardWatchdog"'
    return {
        "name": "Alerts",
        "datasource": DATASOURCE,
        "enable": True,
        "iconColor": "red",
        "expr": f'ALERTS{{{matchers}, cluster=~"$cluster", service_name=~"$service"}}',
        "step": "30s",
        "tagKeys": "severity,service_name",
        "textFormat": f"{{{{{_AGENT}}}}} {{{{{prometheus_label('signature')}}}}}",
        "titleFormat": "{{alertname}}",
    }


def _targets(panel: Panel) -> list[_Target]:
    out = []
    for number, target in enumerate(panel.targets):
        made = _Target(
            expr=target.expr,
            refId=chr(ord("A") + number),
            legendFormat=target.legend,
            instant=target.instant,
            format="table" if panel.kind is Kind.TABLE else "time_series",
        )
        made.exemplar = target.exemplar
        out.append(made)
    return out


def _panel(panel: Panel, where: Where) -> Any:
    links = []
    if panel.to:
        link = g.DashboardLink(
            title="More",
            type="link",
            uri=f"/d/{panel.to}?{_VARIABLES}",
            asDropdown=False,
            keepTime=False,
        )
        links = [link.to_json_data() | {"icon": "dashboard", "includeVars": False}]
    common: dict[str, Any] = {
        "title": panel.title,
        "description": panel.description,
        "gridPos": g.GridPos(h=where.h, w=where.w, x=where.x, y=where.y),
        "links": links,
        "maxDataPoints": None,
        "targets": _targets(panel),
        "dataSource": _NAME,
    }
    extra = {"fieldConfig": {"defaults": _defaults(panel)}}
    if panel.kind is Kind.TEXT:
        return g.Text(**common, content=panel.markdown, mode="markdown")
    if panel.kind is Kind.TIMESERIES:
        return _lines(panel, common, extra)
    if panel.kind is Kind.STAT:
        return g.Stat(
            **common,
            format=panel.unit,
            reduceCalc="lastNotNull",
            graphMode="none",
            colorMode="value" if panel.bad is None and panel.warn is None else "background",
            textMode="value",
            extraJson=extra,
        )
    if panel.kind is Kind.BARGAUGE:
        return g.BarGauge(**common, displayMode="gradient", extraJson=extra)
    return g.Table(
        **common,
        transformations=_columns(panel),
        overrides=_overrides(panel),
        extraJson={**extra, "options": {"sortBy": _sorted(panel)}},
    )


def _lines(panel: Panel, common: dict[str, Any], extra: dict[str, Any]) -> Any:
    filled = 30 if panel.stacked else 10
    return g.TimeSeries(
        **common,
        unit=panel.unit,
        drawStyle="bars" if panel.bars else "line",
        fillOpacity=70 if panel.bars else filled,
        lineWidth=1,
        showPoints="never",
        stacking={"group": "A", "mode": "normal" if panel.stacked else "none"},
        legendDisplayMode="list",
        legendPlacement="bottom",
        tooltipMode="multi",
        tooltipSort="desc",
        overrides=[
            {
                "matcher": {"id": "byRegexp", "options": f"^{word}\\b.*"},
                "properties": [{"id": "color", "value": {"mode": "shades", "fixedColor": color}}],
            }
            for word, color in _COLORS.items()
            if any(t.legend.startswith(f"{word} ") for t in panel.targets)
        ],
        extraJson=extra,
    )


def _defaults(panel: Panel) -> dict[str, Any]:
    steps: list[dict[str, Any]] = [{"color": "red" if panel.below else "green", "value": None}]
    if panel.below:
        steps.append({"color": "green", "value": panel.bad})
    else:
        for color, value in (("orange", panel.warn), ("red", panel.bad)):
            if value is not None:
                steps.append({"color": color, "value": value})
    named = panel.bad is not None or panel.warn is not None
    made: dict[str, Any] = {
        "unit": panel.unit,
        "decimals": panel.decimals,
        "max": panel.maximum,
        "min": 0,
        "noValue": "no data" if panel.kind is Kind.STAT else "nothing in this range",
        "color": {"mode": "thresholds"},
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.kind is Kind.TIMESERIES:
        made["color"] = {"mode": "palette-classic"}
        del made["thresholds"]
    elif panel.kind is Kind.STAT and not named:
        made["color"] = {"mode": "fixed", "fixedColor": "text"}
    return made


def _columns(panel: Panel) -> list[dict[str, Any]]:
    """Join the queries' rows and give the columns their titles and order."""
    names = dict(panel.columns)
    hidden = sorted({prometheus_label(a) for a in ATTRIBUTES} - set(names))
    # Grafana calls the value "Value" if there is one query, else "Value #A", "Value #B", ...
    for number, target in enumerate(panel.targets):
        value = f"Value #{chr(ord('A') + number)}" if len(panel.targets) > 1 else "Value"
        names[value] = target.legend
    order = sorted(names, key=lambda name: names[name] in panel.last)
    return [
        {"id": "merge", "options": {}},
        {
            "id": "organize",
            "options": {
                "excludeByName": {"Time": True, **dict.fromkeys(hidden, True)},
                "includeByName": {},
                "indexByName": {name: place for place, name in enumerate(order)},
                "renameByName": names,
            },
        },
    ]


def _sorted(panel: Panel) -> list[dict[str, Any]]:
    return [{"displayName": panel.sort, "desc": True}] if panel.sort else []


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    out = [_column(t.legend, [{"id": "unit", "value": t.unit}]) for t in panel.targets]
    for title, words in panel.mappings:
        options = {
            text: {"text": shown, "color": color, "index": number}
            for number, (text, shown, color) in enumerate(words)
        }
        mapping = {"id": "mappings", "value": [{"type": "value", "options": options}]}
        cell = {"id": "custom.cellOptions", "value": {"type": "color-text"}}
        out.append(_column(title, [mapping, cell]))
    return out


def _column(title: str, properties: list[dict[str, Any]]) -> dict[str, Any]:
    return {"matcher": {"id": "byName", "options": title}, "properties": properties}
