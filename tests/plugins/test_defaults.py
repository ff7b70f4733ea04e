"""The default models of released plugins are those that ``cost/defaults.toml`` says."""

from __future__ import annotations

import importlib
import inspect
import types
from collections.abc import Iterator
from typing import Any

import pytest

pytest.importorskip(
    "livekit.plugins.anthropic", reason="livekit-plugins-anthropic: run `make test-plugins`"
)

from livekit.agents import llm, stt, tts  # only with it

from runguard_otel.cli.cost.models import installed
from runguard_otel.cost.defaults import COMPONENT_OF, Default, defaults

pytestmark = pytest.mark.livekit

ROWS = [row for row in defaults().rows if row.plugin != "inference"]
KEYS = ("ANTHROPIC", "ASSEMBLYAI", "CARTESIA", "DEEPGRAM", "ELEVEN", "GOOGLE", "OPENAI", "XAI")
NO_DEFAULT = {"google.AIPlatformLLM"}
"""Wants the address of an endpoint of the user's own."""
WANTS_CREDENTIALS = {"google.STT"}
MODELS = (stt.STT, llm.LLM, tts.TTS, llm.RealtimeModel)


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for key in KEYS:
        monkeypatch.setenv(f"{key}_API_KEY", "none")


def public(plugin: str) -> Iterator[tuple[str, type[Any]]]:
    """Each class of a model that a plugin or a module of it offers, once."""
    top = importlib.import_module(f"livekit.plugins.{plugin}")
    modules = [("", top), *((f"{n}.", m) for n, m in vars(top).items() if inspect.ismodule(m))]
    seen = set[type]()
    for prefix, module in modules:
        if _is_public(plugin, prefix, module):
            for name, value in vars(module).items():
                mine = inspect.isclass(value) and issubclass(value, MODELS)
                if mine and value.__module__.startswith(top.__name__) and value not in seen:
                    seen.add(value)
                    yield f"{prefix}{name}", value


def _is_public(plugin: str, prefix: str, module: types.ModuleType) -> bool:
    inside = module.__name__.startswith(f"livekit.plugins.{plugin}")
    return inside and (not prefix or hasattr(module, "__path__"))


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.plugin}.{row.name}")
async def test_the_table_says_what_the_plugin_does(row: Default) -> None:
    classes = dict(public(row.plugin))
    made = classes[row.name]
    assert row.component == next(part for word, part in COMPONENT_OF.items() if word in row.name)
    if f"{row.plugin}.{row.name}" in WANTS_CREDENTIALS:
        assert inspect.signature(made).parameters["model"].default == row.model
        return
    model = made()
    provider = row.plugin if model.provider == "unknown" else model.provider
    assert (provider, model.model) == (row.provider, row.model)


@pytest.mark.parametrize("plugin", sorted({row.plugin for row in ROWS}))
def test_no_model_of_a_plugin_is_missing(plugin: str) -> None:
    there = {f"{plugin}.{name}" for name, _ in public(plugin)} - NO_DEFAULT
    assert there == {f"{row.plugin}.{row.name}" for row in ROWS if row.plugin == plugin}


def test_the_command_reads_the_same_without_importing_them() -> None:
    found = {(use.what, use.model) for use in installed()}
    assert {(f"{row.plugin}.{row.name}", row.model) for row in ROWS} <= found
