"""The rules of Grafana's dashboard-linter, and ours, on every committed dashboard.

Left out of the linter's rules, with the reason:

- template-job, target-job: whose series they are is ``service_name`` and ``cluster`` here; ``job``
  is the collector's choice and differs between ways of delivery.
- template-instance, target-instance: an instance is one worker, which on-call does not choose by.
- target-rate-interval for instant queries: a number over a range uses that range, and a "now" five
  minutes.
- target-logql and other rules for logs: there are no logs in them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runguard_otel.telemetry.catalogue import METRICS, Kind, prometheus_label, prometheus_name
from tools.generate import files

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
BOARDS = [json.loads(p.read_text()) for p in sorted((ROOT / "dashboards/generated").glob("*.json"))]
UIDS = {board["uid"] for board in BOARDS}
every_board = pytest.mark.parametrize("board", BOARDS, ids=lambda b: b["uid"])


def data_panels(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (p for p in board["panels"] if p["type"] != "text")


def targets(board: dict[str, Any]) -> Iterator[dict[str, Any]]:
    return (t for p in data_panels(board) for t in p["targets"])


def test_the_eight_dashboards_have_the_uids_that_alerts_and_bookmarks_use() -> None:
    names = "overview reconnects misfires claims subscriptions overruns server cost itself"
    assert {f"runguard-{n}" for n in names.split()} == UIDS


def test_there_is_one_committed_file_per_dashboard_and_no_other() -> None:
    folder = ROOT / "dashboards" / "generated"
    assert set(folder.iterdir()) == {p for p in files() if p.parent == folder}


@every_board
def test_the_variables_are_those_of_every_dashboard(board: dict[str, Any]) -> None:
    found = {v["name"]: v for v in board["templating"]["list"]}
    assert list(found) == ["datasource", "cluster", "service", "agent"]
    assert found.pop("datasource")["label"] == "Data source"
    for variable in found.values():
        assert variable["refresh"] == 2  # when the time range changes
        assert (variable["multi"], variable["includeAll"]) == (True, True)
        assert variable["allValue"] == ".*"  # series without the label are shown as well
        assert variable["label"]


@every_board
def test_it_cannot_be_edited_by_accident_and_has_tags_and_a_description(
    board: dict[str, Any],
) -> None:
    assert board["editable"] is False
    assert "runguard" in board["tags"]
    assert board["description"].endswith(".")
    assert board["schemaVersion"] == 41


@every_board
def test_a_panel_has_a_title_one_sentence_a_unit_and_the_chosen_data_source(
    board: dict[str, Any],
) -> None:
    for panel in board["panels"]:
        assert panel["title"]
        assert re.fullmatch(r"[A-Z][^.]+(\.\w[^.]*)*\.", panel["description"]), panel["title"]
    for panel in data_panels(board):
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["targets"]
        assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
        assert all(t["datasource"] == panel["datasource"] for t in panel["targets"])


@every_board
def test_a_text_panel_says_how_to_read_it(board: dict[str, Any]) -> None:
    texts = [p["options"]["content"] for p in board["panels"] if p["type"] == "text"]
    assert len(texts) == 1
    assert len(texts[0]) > 150


@every_board
def test_alerts_are_drawn_into_the_panels(board: dict[str, Any]) -> None:
    (annotation,) = board["annotations"]["list"]
    assert annotation["enable"] is True
    assert annotation["expr"].startswith('ALERTS{alertstate="firing"')


@every_board
def test_every_query_is_filtered_by_the_variables(board: dict[str, Any]) -> None:
    for target in targets(board):
        selectors = re.findall(r"runguard_\w+{([^}]*)}|{(__name__=[^}]*)}", target["expr"])
        assert selectors
        for found in selectors:
            text = "".join(found)
            assert 'cluster=~"$cluster"' in text
            assert 'service_name=~"$service"' in text


@every_board
def test_no_query_depends_on_instance_or_job_or_le(board: dict[str, Any]) -> None:
    for target in targets(board):
        assert not re.search(r"\b(instance|job)\b\s*(=|,|\))", target["expr"]), target["expr"]
        assert 'le="' not in target["expr"]  # "1" in one text format, "1.0" in the other


@every_board
def test_counters_are_rated_and_lines_use_grafanas_own_window(board: dict[str, Any]) -> None:
    counters = [prometheus_name(m.name) for m in METRICS.values() if m.kind is Kind.COUNTER]
    for target in targets(board):
        for name in counters:
            for place in re.finditer(rf"\b{name}\b", target["expr"]):
                before = target["expr"][: place.start()]
                assert before.endswith(("rate(", "increase(")), target["expr"]
        if not target["instant"]:
            windows = set(re.findall(r"\[([^\]]+)\]", target["expr"]))
            assert windows <= {"$__rate_interval"}, target["expr"]


@every_board
def test_every_name_is_of_the_catalogue(board: dict[str, Any]) -> None:
    known = {prometheus_name(m) for m in METRICS}
    for target in targets(board):
        for name in re.findall(r"\b(runguard_\w+){", target["expr"]):
            assert re.sub(r"_(bucket|count|sum)$", "", name) in known | {name} & known, name


@every_board
def test_lines_of_events_carry_exemplars(board: dict[str, Any]) -> None:
    lines = [t for p in board["panels"] if p["type"] == "timeseries" for t in p["targets"]]
    signatures = prometheus_name("runguard.signatures"), prometheus_name("runguard.trips")
    for target in lines:
        if target["expr"].count("sum") == 1 and any(s in target["expr"] for s in signatures):
            assert target["exemplar"] is True, target["expr"]


@every_board
def test_every_link_leads_to_a_dashboard_that_exists(board: dict[str, Any]) -> None:
    assert [link["type"] for link in board["links"]] == ["dashboards"]
    assert board["links"][0]["tags"] == ["runguard"]
    for panel in board["panels"]:
        for link in panel["links"]:
            assert re.match(r"/d/([\w-]+)\?", link["url"])[1] in UIDS  # type: ignore[index]  # else it fails


@every_board
def test_panels_fill_the_grid_without_overlap(board: dict[str, Any]) -> None:
    cells = [
        (x, y)
        for p in board["panels"]
        for g in (p["gridPos"],)
        for x in range(g["x"], g["x"] + g["w"])
        for y in range(g["y"], g["y"] + g["h"])
    ]
    assert len(cells) == len(set(cells))
    assert len(cells) == 24 * (1 + max(y for _, y in cells))


def test_the_overview_answers_without_scrolling_at_900_pixels() -> None:
    (overview,) = (b for b in BOARDS if b["uid"] == "runguard-overview")
    ends = [p["gridPos"]["y"] + p["gridPos"]["h"] for p in data_panels(overview)]
    assert max(ends) * 38 <= 900 - 200  # Grafana's own bars take about 200


@every_board
def test_every_line_bar_and_row_says_whose_it_is(board: dict[str, Any]) -> None:
    """Mutant: one ``by`` without the cluster makes one line of two clusters."""
    owners = {"cluster", "service_name"}
    agent = prometheus_label("agent")
    with_agent = {prometheus_name(m.name) for m in METRICS.values() if "agent" in m.attributes}
    for panel in data_panels(board):
        if panel["type"] == "stat":
            continue
        for target in panel["targets"]:
            grouped = [set(by.split(", ")) for by in re.findall(r"by \(([^)]*)\)", target["expr"])]
            assert grouped, target["expr"]
            assert all(owners <= by for by in grouped), target["expr"]
            named = set(re.findall(r"{{(\w+)}}", target["legendFormat"]))
            if panel["type"] != "table":
                assert owners <= named, target["legendFormat"]
                metrics = set(re.findall(r"\b(runguard_\w+?)(?:_bucket|_count)?{", target["expr"]))
                assert agent in named or not metrics or metrics - with_agent, target["expr"]
        if panel["type"] == "table":
            organised = next(t for t in panel["transformations"] if t["id"] == "organize")
            assert owners <= set(organised["options"]["renameByName"])


@every_board
def test_no_data_is_not_shown_as_zero(board: dict[str, Any]) -> None:
    """A number is 0 only where a worker was heard of."""
    for panel in data_panels(board):
        assert not any("vector(0)" in t["expr"] for t in panel["targets"]), panel["title"]
        assert panel["fieldConfig"]["defaults"]["noValue"] != "0"
