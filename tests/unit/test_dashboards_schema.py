"""Every committed dashboard is what Grafana's own types say, checked without a Grafana."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

pytestmark = pytest.mark.unit

FOLDER = Path(__file__).resolve().parents[2] / "dashboards"
FILES = sorted((FOLDER / "generated").glob("*.json"))
OF_PROMETHEUS = {"expr", "step", "tagKeys", "textFormat", "titleFormat"}
"""What the Prometheus data source adds to an annotation; the schema is of the dashboard alone."""
OPTIONS = {
    "timeseries": "TimeSeriesOptions",
    "stat": "StatOptions",
    "table": "TableOptions",
    "bargauge": "BarGaugeOptions",
    "text": "TextOptions",
}


def problems(schema: str, value: Any) -> list[str]:
    text = (FOLDER / "schemas" / f"{schema}.json").read_text()
    validator = jsonschema.Draft7Validator(json.loads(text))
    return [f"{e.json_path}: {e.message[:200]}" for e in validator.iter_errors(value)]


def load(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_text())
    return found


def check(board: dict[str, Any]) -> list[str]:
    """Everything that is wrong with a dashboard, by place."""
    annotations = [
        {k: v for k, v in a.items() if k not in OF_PROMETHEUS} for a in board["annotations"]["list"]
    ]
    bare = {**board, "panels": [], "annotations": {"list": annotations}}
    found = [f"dashboard {p}" for p in problems("Dashboard", bare)]
    for variable in board["templating"]["list"]:
        found += [f"variable {variable['name']} {p}" for p in problems("Variable", variable)]
    for annotation in annotations:
        found += [f"annotation {p}" for p in problems("Annotation", annotation)]
    for link in board["links"]:
        found += [f"link {p}" for p in problems("Link", link)]
    for panel in board["panels"]:
        where = f"panel {panel['title']!r}"
        rest = {k: v for k, v in panel.items() if k not in ("options", "fieldConfig")}
        found += [f"{where} {p}" for p in problems("Panel", rest)]
        found += [
            f"{where} options {p}" for p in problems(OPTIONS[panel["type"]], panel["options"])
        ]
        if panel["type"] == "text":
            continue
        defaults = dict(panel["fieldConfig"]["defaults"])
        custom = defaults.pop("custom", {})
        found += [f"{where} field {p}" for p in problems("Field", defaults)]
        if panel["type"] == "timeseries":
            found += [f"{where} custom {p}" for p in problems("TimeSeriesField", custom)]
    return found


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_dashboard_has_only_fields_and_values_that_grafana_knows(path: Path) -> None:
    assert check(load(path)) == []


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda b: b["panels"][0].update(span=4), "panel"),
        (lambda b: b["panels"][0]["options"].update(colorMode="rainbow"), "options"),
        (lambda b: b["templating"]["list"][1].update(refresh="often"), "variable"),
        (lambda b: b["panels"][0]["fieldConfig"]["defaults"].update(unit=7), "field"),
        (lambda b: b.update(hideControls=True), "dashboard"),
    ],
)
def test_the_check_finds_what_an_old_generator_would_write(change: Any, place: str) -> None:
    board = load(FILES[0])
    board["panels"].sort(key=lambda p: p["type"] != "stat")
    change(board)
    assert any(place in p for p in check(board))
