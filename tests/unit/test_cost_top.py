"""``runguard-otel cost top``: what costs most today, next to the usual day."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from runguard_otel.cli.cost import commands as cost
from runguard_otel.cli.cost.top import QUESTIONS, ask
from runguard_otel.preview.prometheus import QueryError, Sample

pytestmark = pytest.mark.unit


class Server:
    """Answers by what is asked: today's increase, or that of the week before."""

    def __init__(self, url: str = "", error: str = "") -> None:
        self.asked: list[str] = []
        self._error = error

    def instant(self, expr: str, at: float) -> list[Sample]:
        self.asked.append(expr)
        if self._error:
            raise QueryError(self._error)
        if "runguard_cost_estimated_total" not in expr or "runguard_component" not in expr:
            return []
        stt = {"runguard_component": "stt", "gen_ai_provider_name": "deepgram"}
        llm = {"runguard_component": "llm", "gen_ai_provider_name": "openai"}
        if "offset 1d" in expr:
            return [Sample(stt, ((at, 2.0),)), Sample(llm, ((at, 5.0),))]
        new = {"runguard_component": "transport"}
        return [
            Sample(llm, ((at, 4.0),)),
            Sample(stt, ((at, 20.0),)),
            Sample(new, ((at, 1.0),)),
            Sample({"runguard_component": "tts"}, ((at, float("nan")),)),
        ]


def test_dearest_first_with_the_usual_day_beside_it() -> None:
    """Fails if the two days are mixed up, or what is new today is left out."""
    rows = ask(Server(), QUESTIONS[1], at=0.0)
    assert [(row.names[0], row.today, row.usual) for row in rows] == [
        ("stt", 20.0, 2.0),
        ("llm", 4.0, 5.0),
        ("transport", 1.0, 0.0),
    ]
    assert len(ask(Server(), QUESTIONS[1], at=0.0, rows=1)) == 1


def test_the_usual_day_is_the_mean_of_those_that_there_were_in_the_week_before_today() -> None:
    """Fails if the week's increase is divided by seven: three days old, all costs twice as much."""
    server = Server()
    ask(server, QUESTIONS[0], at=0.0)
    agents_own = 'runguard_cost_estimated_total{runguard_vantage=""}'
    assert server.asked == [
        f"sum by (service_name) (increase({agents_own}[1d]))",
        f"avg_over_time((sum by (service_name) (increase({agents_own}[1d])))[7d:1d] offset 1d)",
    ]


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str, error: str = "") -> tuple[int, str]:
    monkeypatch.setattr(cost, "Prometheus", lambda url: Server(url, error))
    result = CliRunner().invoke(
        cost.app, ["top", "--prometheus", "http://localhost:9090", *arguments]
    )
    return result.exit_code, result.output


def test_as_a_table_and_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = run(monkeypatch)
    assert code == 0
    assert "10.0 x" in text
    assert "new" in text
    code, text = run(monkeypatch, "--json")
    assert json.loads(text)["Which component"][0]["today"] == 20.0


def test_a_server_that_does_not_answer_is_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    code, text = run(monkeypatch, error="connection refused")
    assert code != 0
    assert "connection refused" in text
    assert "Traceback" not in text
