"""The preview replaces variables as Grafana does and makes one page that needs nothing else."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

import pytest

from runguard_otel._shipped import ROOT
from runguard_otel.preview.boards import Fetched, shipped
from runguard_otel.preview.page import page
from runguard_otel.preview.panels import Shown, Span, shown
from runguard_otel.preview.prometheus import Prometheus, QueryError, Sample
from runguard_otel.preview.variables import UndeclaredVariable, builtin, chosen, filled

pytestmark = pytest.mark.unit

SPAN = Span(1_000.0, 1_000.0 + 3 * 3600)


class Canned(Prometheus):
    """Answers every query with the same series."""

    samples: tuple[Sample, ...] = ()
    asked: tuple[str, ...] = ()

    def range(self, expr: str, start: float, end: float, step: float) -> list[Sample]:
        return list(self.samples)

    def instant(self, expr: str, at: float) -> list[Sample]:
        return list(self.samples)

    def label_values(self, label: str, series: str, start: float, end: float) -> list[str]:
        return [series]


def canned(*samples: Sample) -> Canned:
    server = Canned("http://127.0.0.1:1")
    object.__setattr__(server, "samples", samples)
    return server


def test_both_forms_of_a_variable_are_replaced() -> None:
    values = {"service": "a|b", "__range": "60s"}
    assert filled('x{s=~"$service"}[$__range] ${service:regex}', values) == 'x{s=~"a|b"}[60s] a|b'


def test_a_variable_that_was_not_declared_is_an_error() -> None:
    with pytest.raises(UndeclaredVariable, match="job"):
        filled("up{job='$job'}", {"service": "a"})


def test_the_rate_window_is_never_shorter_than_four_scrapes() -> None:
    assert builtin(600, 15)["__rate_interval"] == "60s"
    assert builtin(86400, 480)["__rate_interval"] == "495s"


def test_a_chosen_value_is_matched_literally_in_promql() -> None:
    board = shipped(ROOT / "dashboards" / "generated")[0]
    found = chosen(board, canned(), (0, 1), {"service": 'a.b"c'})
    assert found["service"][0] == 'a\\\\.b\\"c'
    assert found["agent"][1][0].count('service_name=~"a\\\\.b\\"c"') == 1
    assert found["cluster"][0] == ".*"


def test_a_gap_stays_a_gap_and_what_is_not_a_number_is_one() -> None:
    step = SPAN.step
    points = ((SPAN.first, 1.0), (SPAN.first + step, float("nan")), (SPAN.end, 3.0))
    panel: Mapping[str, Any] = {
        "type": "timeseries",
        "title": "x",
        "targets": [{"expr": "up", "instant": False, "legendFormat": "{{a}} {{b}}"}],
    }
    found = shown(panel, canned(Sample({"a": "one"}, points)), SPAN, {})
    ((name, values),) = found.series
    assert name == "one"
    assert (values[0], values[1], values[-1]) == (1.0, None, 3.0)
    assert len(values) == int(SPAN.seconds / step) + 1


def test_a_panel_without_one_number_is_empty() -> None:
    assert Shown({"type": "stat"}, series=[("x", [None])]).empty
    assert not Shown({"type": "text"}).empty


def test_the_overview_comes_first() -> None:
    assert shipped(ROOT / "dashboards" / "generated")[0]["uid"] == "runguard-overview"


def made(evil: str = "x") -> str:
    board = shipped(ROOT / "dashboards" / "generated")[0]
    server = canned(Sample({"runguard_signature": evil}, ((SPAN.end, 1.0),)))
    variables = chosen(board, server, (0, 1), {})
    values = {k: v for k, (v, _) in variables.items()}
    panels = tuple(shown(p, server, SPAN, values) for p in board["panels"])
    return page([Fetched(board, panels, variables, (("A", 1.0, 2.0),))], SPAN, "test")


def test_the_page_loads_nothing_from_anywhere() -> None:
    text = made()
    assert not re.search(r"<(script|link|img|iframe)[^>]+(src|href)=", text)
    assert not re.search(r"@import|url\(|fetch\(|XMLHttpRequest", text)


def test_a_value_cannot_end_the_script_it_travels_in() -> None:
    text = made("</script><script>alert(1)</script>")
    assert text.count("</script>") == 1


def test_the_page_has_the_grid_and_titles_of_the_dashboard() -> None:
    found = re.search(r"const D = (\{.*\});\n", made())
    assert found is not None
    data = json.loads(found[1])
    board = shipped(ROOT / "dashboards" / "generated")[0]
    shown_panels = data["boards"][0]["panels"]
    assert [(p["title"], p["grid"]) for p in shown_panels] == [
        (p["title"], p["gridPos"]) for p in board["panels"]
    ]


def test_a_server_that_is_not_there_is_one_clear_error() -> None:
    with pytest.raises(QueryError, match=r"127\.0\.0\.1:1 does not answer"):
        Prometheus("http://127.0.0.1:1", timeout=1).instant("up", 0)


def test_only_http_is_asked() -> None:
    with pytest.raises(QueryError, match="not an http address"):
        Prometheus("file:///etc/passwd").instant("up", 0)
