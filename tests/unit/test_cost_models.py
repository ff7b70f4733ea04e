"""``runguard-otel cost prices --check agent.py | --installed``: read as text, never run."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from importlib.metadata import Distribution, PathDistribution
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from runguard_otel.cli.cost import commands as cost
from runguard_otel.cli.cost.models import Use, installed, named_in

pytestmark = pytest.mark.unit


def found(tmp_path: Path, text: str) -> list[tuple[str, str, str]]:
    agent = tmp_path / "agent.py"
    agent.write_text(text, encoding="utf-8")
    return [(use.component, use.provider, use.model) for use in named_in(agent)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "from livekit.plugins import deepgram\ndeepgram.STT()",
            ("stt", "Deepgram", "nova-3"),
        ),
        (
            "from livekit.plugins import deepgram as dg\ndg.STT(model='nova-2', language='de')",
            ("stt", "Deepgram", "nova-2"),
        ),
        (
            "from livekit.plugins.deepgram import stt\nstt.STT()",
            ("stt", "Deepgram", "nova-3"),
        ),
        (
            "from livekit.plugins.google.beta import GeminiTTS\nGeminiTTS()",
            ("tts", "Gemini", "gemini-3.1-flash-tts-preview"),
        ),
        (
            "from livekit.plugins import openai\nears = (heard := openai.STT)()\nopenai.TTS()",
            ("tts", "api.openai.com", "gpt-4o-mini-tts"),
        ),
        (
            "from livekit.plugins.deepgram import STT as Ears\nEars(language='multi')",
            ("stt", "Deepgram", "nova-3:multi"),
        ),
        (
            "import livekit.plugins.openai as oa\noa.realtime.RealtimeModel(voice='x')",
            ("llm", "api.openai.com", "gpt-realtime"),
        ),
        (
            "import livekit.plugins.openai\nlivekit.plugins.openai.LLM(model='gpt-4.1-mini')",
            ("llm", "api.openai.com", "gpt-4.1-mini"),
        ),
        (
            "from livekit.plugins import openai\n"
            "openai.LLM(model='gpt-4.1', service_tier='priority')",
            ("llm", "api.openai.com", "gpt-4.1:priority"),
        ),
        (
            "from livekit.plugins import google\nfrom google.genai import types\n"
            "google.LLM(model='gemini-2.5-flash', service_tier=types.ServiceTier.FLEX)",
            ("llm", "Gemini", "gemini-2.5-flash:flex"),
        ),
        (
            "from livekit.agents import inference\n"
            "inference.LLM('openai/gpt-4.1', extra_kwargs={'service_tier': 'priority'})",
            ("llm", "livekit", "openai/gpt-4.1:priority"),
        ),
        (
            "from livekit.agents import inference\ninference.STT('deepgram/nova-3:multi')",
            ("stt", "livekit", "deepgram/nova-3:multi"),
        ),
        (
            "from livekit import agents\nagents.inference.LLM(model='openai/gpt-5.2')",
            ("llm", "livekit", "openai/gpt-5.2"),
        ),
        (
            "from livekit.agents import AgentSession\nAgentSession(tts='cartesia/sonic-3:voice')",
            ("tts", "livekit", "cartesia/sonic-3:voice"),
        ),
        (
            "from livekit.plugins import elevenlabs\nelevenlabs.STT(model_id='scribe_v2_realtime')",
            ("stt", "ElevenLabs", "scribe_v2_realtime"),
        ),
        (
            "from livekit.plugins import somebody\nsomebody.TTS(model='loud-1')",
            ("tts", "somebody", "loud-1"),
        ),
    ],
)
def test_a_model_is_found_however_it_is_imported(
    tmp_path: Path, text: str, expected: tuple[str, str, str]
) -> None:
    assert found(tmp_path, text) == [expected]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("openai.LLM(model=os.environ['MODEL'])", "computed"),
        ("openai.LLM(**options)", "computed"),
        ("openai.LLM(model='gpt-4.1', service_tier=tier)", "service tier is computed"),
        ("openai.LLM.with_azure(model='gpt-4.1')", "another provider"),
    ],
)
def test_what_cannot_be_read_is_said_and_gets_no_price(
    tmp_path: Path, text: str, said: str
) -> None:
    agent = tmp_path / "agent.py"
    agent.write_text(f"from livekit.plugins import openai\n{text}\n", encoding="utf-8")
    (use,) = named_in(agent)
    assert said in use.unpriced
    shown = prices("--check", str(agent))
    assert "rates" not in shown[0]
    assert said in shown[0]["unpriced"]


@pytest.mark.parametrize(
    "text",
    [
        "from livekit.agents import stt\nstt.FallbackAdapter([])",
        "from livekit.plugins import silero\nsilero.VAD.load()",
        "class STT: ...\nSTT()",
        "session = dict(stt='deepgram/nova-3')",
        "",
    ],
)
def test_other_calls_are_no_models(tmp_path: Path, text: str) -> None:
    assert found(tmp_path, text) == []


class Plugin:
    """A distribution on disk that would end the process if it were imported."""

    def __init__(self, folder: Path, name: str, files: dict[str, str]) -> None:
        info = folder / f"{name.replace('-', '_')}-9.9.dist-info"
        info.mkdir(parents=True)
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 9.9\n")
        for path, text in files.items():
            (folder / path).parent.mkdir(parents=True, exist_ok=True)
            (folder / path).write_text(f"raise SystemExit('imported')\n{text}", encoding="utf-8")
        (info / "RECORD").write_text("".join(f"{path},,\n" for path in files))
        self.distribution: Distribution = PathDistribution(info)


def test_what_an_installed_plugin_says_itself_wins_over_our_table(tmp_path: Path) -> None:
    later = Plugin(
        tmp_path,
        "livekit-plugins-deepgram",
        {
            "livekit/plugins/deepgram/stt.py": (
                "class STT(Base):\n def __init__(self, *, model: str = 'nova-4'): ...\n"
            ),
            "livekit/plugins/deepgram/beta/stt.py": (
                "class STT(Base):\n def __init__(self, model='nova-9'): ...\n"
            ),
            "livekit/plugins/deepgram/broken.py": "def",
        },
    )
    uses = {use.what: use for use in installed(iter([later.distribution]))}
    assert uses["deepgram.STT"] == Use("stt", "deepgram.STT", "Deepgram", "nova-4", "9.9")
    assert uses["deepgram.TTS"].model == "aura-2-andromeda-en"


def test_a_plugin_nobody_looked_at_is_listed_by_what_it_says(tmp_path: Path) -> None:
    text = "class LoudTTS(Base):\n def __init__(self, key, model='loud-1', *, x=1): ...\n"
    new = Plugin(tmp_path, "livekit-plugins-loud-mouth", {"livekit/plugins/loud_mouth/x.py": text})
    assert installed(iter([new.distribution])) == [
        Use("tts", "loud_mouth.LoudTTS", "loud_mouth", "loud-1", "9.9")
    ]


def prices(*arguments: str) -> list[dict[str, Any]]:
    result = CliRunner().invoke(cost.app, ["prices", *arguments, "--json"])
    assert result.exit_code == 0, result.output
    models: list[dict[str, Any]] = json.loads(result.stdout)["models"]
    return models


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    file = tmp_path / "agent.py"
    file.write_text(
        "from livekit.plugins import deepgram\nfrom livekit.agents import AgentSession\n"
        "AgentSession(stt=deepgram.STT(language='multi'), llm='openai/gpt-1')\n"
    )
    yield file


def test_each_model_is_shown_with_its_price_or_the_reason(agent: Path) -> None:
    named = {row["what"]: row for row in prices("--check", str(agent))}
    assert named["deepgram.STT"]["rates"] == {"audio_seconds": "0.0058"}
    assert "no row" in named["llm="]["unpriced"]
    result = CliRunner().invoke(cost.app, ["prices", "--check", str(agent)], env={"COLUMNS": "150"})
    assert "0.0058 per 60 audio seconds" in result.output
    assert "1 of 2 have no price" in result.output


@pytest.mark.parametrize("kind", ["missing", "folder", "pipe", "no text", "no Python"])
def test_a_file_that_cannot_be_read_is_one_line(tmp_path: Path, kind: str) -> None:
    file = tmp_path / "agent.py"
    if kind == "folder":
        file.mkdir()
    elif kind == "pipe":
        os.mkfifo(file)
    elif kind == "no text":
        file.write_bytes(b"\xff\xfe\x00")
    elif kind == "no Python":
        file.write_text("def (")
    result = CliRunner().invoke(cost.app, ["prices", "--check", str(file)])
    assert result.exit_code == 2
    assert result.stderr.startswith("error --check")
    assert len(result.stderr.strip().splitlines()) == 1
