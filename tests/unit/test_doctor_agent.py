"""``runguard-otel doctor agent.py`` says for which ways to run an agent is guarded."""

from __future__ import annotations

from pathlib import Path

import pytest

from runguard_otel.cli.doctor.agent import empty_scrape, place_of

pytestmark = pytest.mark.unit

TOP = "import runguard_otel\nrunguard_otel.instrument()\n"
NAMED = "from runguard_otel import instrument as guard\ntrip = guard(mode='observe')\n"
TRIED = "import runguard_otel as r\ntry:\n    r.instrument()\nexcept ImportError:\n    pass\n"
MAIN = "import runguard_otel\nif __name__ == '__main__':\n    runguard_otel.instrument()\n"
ENTRY = "import runguard_otel\nasync def entrypoint(ctx):\n    runguard_otel.instrument()\n"
INSIDE = "async def entrypoint(ctx):\n    from runguard_otel import instrument\n    instrument()\n"
OTHERS = "import runguard_otel, requests_otel\nrequests_otel.instrument()\ndef instrument(): ...\n"


@pytest.mark.parametrize(
    ("text", "state", "said"),
    [
        (TOP, "ok", "line 2"),
        (NAMED, "ok", "line 2"),
        (TRIED, "ok", "line 3"),
        (TOP + MAIN + ENTRY, "ok", "line 2"),
        (MAIN, "degraded", "`python -m livekit.agents start` and `lk agent` are not"),
        (ENTRY, "degraded", "line 3 is in a function"),
        (INSIDE, "degraded", "line 3 is in a function"),
        (OTHERS, "note", "no call"),
        ("", "note", "no call"),
    ],
)
def test_where_instrument_is_called_decides(
    tmp_path: Path, text: str, state: str, said: str
) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(text, encoding="utf-8")
    place = place_of(agent)
    assert place.state == state
    assert said in place.detail
    assert bool(place.advice) == (state == "degraded")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("server = AgentServer(prometheus_multiproc_dir='/tmp/m')", True),
        ("server = AgentServer(\n    port=0,\n    prometheus_multiproc_dir=folder,\n)", True),
        (
            "options = dict(prometheus_multiproc_dir=f'{home}/m')\nrun(WorkerOptions(**options))",
            True,
        ),
        ("from livekit.agents import AgentServer\no = {'prometheus_multiproc_dir': f}", True),
        ("options['prometheus_multiproc_dir'] = folder", True),
        (
            "from livekit.agents import AgentServer\nimport os\n"
            "os.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp/m'  # too late\n"
            "server = AgentServer(prometheus_multiproc_dir='/tmp/m')",
            True,
        ),
        (
            "from livekit.agents import AgentServer\nimport os\n"
            "s = AgentServer(prometheus_multiproc_dir=os.getenv('PROMETHEUS_MULTIPROC_DIR'))",
            False,
        ),
        ("server = AgentServer(prometheus_multiproc_dir=None)", False),
        ("server = AgentServer(prometheus_multiproc_dir='')", False),
        ("server = AgentServer(prometheus_port=9000)", False),
        (
            "import os\nos.environ['PROMETHEUS_MULTIPROC_DIR'] = '/tmp/m'\n"
            "from livekit.agents import AgentServer\n"
            "server = AgentServer(prometheus_multiproc_dir='/tmp/m')",
            False,
        ),
    ],
)
def test_an_option_that_empties_livekits_metrics_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: bool
) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(text, encoding="utf-8")
    monkeypatch.delenv("PROMETHEUS_MULTIPROC_DIR", raising=False)
    place = empty_scrape(agent)
    assert (place is not None) == said
    if place is not None:
        assert place.state == "note"
        assert f"on line {text[: text.index('multiproc_dir')].count(chr(10)) + 1}:" in place.detail
        assert "PROMETHEUS_MULTIPROC_DIR" in place.advice
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    assert empty_scrape(agent) is None
