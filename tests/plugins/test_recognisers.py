"""What the laboratory says of recognisers under the guards is worth something: it can say no.

What it finds of each is compared with ``facts/recognisers.json`` by ``make test-plugins``, and that
file with what the product promises by ``tests/unit/test_recognisers.py``.
"""

from __future__ import annotations

import asyncio
import contextlib

import aiohttp
import pytest

from runguard_otel.adapters.livekit.facts import recognisers
from tests.kit import speech, tracks
from tests.plugins.lab.guarded import MISFIRES, OVER_TRACKS
from tests.plugins.lab.loopback import provider
from tests.plugins.lab.probe import pause, until
from tests.plugins.lab.products import Product, installed

pytestmark = pytest.mark.livekit

FOUND = {product.key: (product, module) for product, module, _ in installed()}

if "deepgram STT" not in FOUND:
    pytest.skip("no plugin is installed: run `make test-plugins`", allow_module_level=True)


@pytest.mark.parametrize(
    ("key", "batch"),
    [("smallestai STT", False), ("sarvam STT", True), ("elevenlabs STT scribe_v2_realtime", False)],
)
async def test_clear_speech_is_kept_back_if_every_number_is_believed(
    key: str, batch: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recognisers, "_UNUSABLE", frozenset())
    assert "kept back" in await MISFIRES["clear"](*FOUND[key], batch)


@pytest.mark.parametrize("key", ["deepgram STT", "soniox STT"])
async def test_a_row_of_noise_passes_without_the_guard(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(speech.Guarded, "__enter__", lambda self: self)
    assert await MISFIRES["unsure"](*FOUND[key], False) == "no result"


@pytest.mark.parametrize("key", ["deepgram STT", "gradium STT"])
async def test_three_tracks_are_three_connections_without_the_guard(
    key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tracks.Guarded, "__enter__", lambda self: self)
    assert await OVER_TRACKS["tracks"](*FOUND[key]) == "not shared, 3 connections, whole"


async def test_a_stream_that_outlives_its_close_is_no_connection_of_the_next_product() -> None:
    """Fails if connections go to the provider that runs, or the stream goes on without its own."""
    product: Product = FOUND["simplismart STT"][0]
    told = 0

    async def stubborn(session: aiohttp.ClientSession) -> None:
        nonlocal told
        while told < 3:
            try:
                with contextlib.suppress(OSError):  # refused: its provider is gone
                    async with session.ws_connect("wss://anywhere.test"):
                        pass
                await pause(0.01)
            except asyncio.CancelledError:
                told += 1

    async with aiohttp.ClientSession() as session:
        async with provider(product.script()) as first:
            task = asyncio.ensure_future(stubborn(session))
            assert await until(lambda: first.connections > 2)
            async with provider(product.script()) as second:
                before = first.connections
                assert await until(lambda: first.connections > before + 2)
                assert not second.connections
        assert task.done() and told == 3
