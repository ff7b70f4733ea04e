"""Every recogniser of the laboratory in whole calls: who speaks is heard, noise trips where it can.

A stand-in says of noise what the protocol has for it: a word at a low score, or a turn without
words. What trips, and what cannot, is what ``facts/recognisers`` and ``docs/limits.md`` say.
"""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from livekit import rtc

from runguard_otel.adapters.livekit.facts.recognisers import judged, rows_of
from runguard_otel.testing.calls import call
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.waiting import settle, until
from tests.kit import tracks
from tests.kit.speech import Guarded
from tests.plugins.lab.loopback import Provider, provider
from tests.plugins.lab.probe import frames
from tests.plugins.lab.products import Product, installed
from tests.plugins.lab.said import CLEAR, NOISE, Said

pytestmark = pytest.mark.livekit

STREAMING = [found for found in installed() if found[0].streams]
FOUND = {(row.plugin, row.product): row for name in STREAMING for row in rows_of(name[0].plugin)}
TURNS = 5
each = pytest.mark.parametrize("found", STREAMING, ids=[p.key for p, _, _ in STREAMING])

if not STREAMING:
    pytest.skip("no plugin is installed: run `make test-plugins`", allow_module_level=True)


async def speak(lab: Provider, c: Any, guarded: Guarded, said: Said, number: int) -> None:
    """A voice, and what the provider makes of it; a new word each, so that nothing is repeated."""
    words = (said.words[0]._replace(text=f"{said.words[0].text}{number}"), *said.words[1:])
    results = guarded.recorder.count("runguard.stt.results")
    c.vad.start_of_speech()
    await settle(20)
    await lab.say(lab.script.turn(said._replace(words=words)))
    await until(lambda: guarded.recorder.count("runguard.stt.results") > results)
    c.vad.end_of_speech()
    await settle()
    guarded.now += 4.0


async def connected(lab: Provider, c: Any) -> None:
    for frame in frames(1.0):
        c.input.push(frame)
    await lab.connected()
    await settle()
    await asyncio.sleep(0.05)


@each
async def test_clear_speech_at_typical_scores_is_never_suppressed(
    found: tuple[Product, Any, str],
) -> None:
    """Fails if a number that is no confidence is judged as one, and 0.0 is not unknown."""
    product, module, _ = found
    async with provider(product.script()) as lab:
        with Guarded() as guarded:
            async with call(recogniser=product.make(module, lab)) as c:
                await connected(lab, c)
                for n in range(TURNS):
                    await speak(lab, c, guarded, CLEAR, n)
                    await until(lambda n=n: len(c.asked) > n)
    assert guarded.kinds == [] and guarded.recorder.trips == []


@each
async def test_a_row_of_noise_trips_or_cannot_be_told(found: tuple[Product, Any, str]) -> None:
    """Noise as words at a low score trips exactly where the number is judged, and blanks always."""
    product, module, _ = found
    row = FOUND[product.plugin, product.name]
    low = judged(product.plugin) and str(row.meaning) in ("utterance", "mean")
    async with provider(product.script()) as lab:
        with Guarded() as guarded:
            async with call(recogniser=product.make(module, lab)) as c:
                await connected(lab, c)
                for n in range(TURNS):
                    await speak(lab, c, guarded, NOISE, n)
                assert bool(guarded.recorder.trips) is low, guarded.kinds
    async with provider(product.script()) as lab:
        with Guarded() as guarded:
            async with call(recogniser=product.make(module, lab)) as c:
                await connected(lab, c)
                for _ in range(TURNS):
                    c.vad.start_of_speech()
                    await settle(20)
                    await lab.say(lab.script.noise())
                    await settle()
                    await asyncio.sleep(0.05)
                    c.vad.end_of_speech()
                    await settle()
                    guarded.now += 4.0
                assert bool(guarded.recorder.trips) is (row.found["blank"] != "-")
                assert c.asked == []


class Typist(tracks.Transcriber):
    """Keeps the final results only."""

    async def _read(self, stream: Any, number: int) -> None:
        async for event in stream:
            if event.type.value == "final_transcript":
                self.heard.append((number, event.alternatives[0].text))


@each
@pytest.mark.parametrize("ending", ["", "end_input"])
async def test_a_stream_shared_over_three_tracks_has_the_whole_transcript(
    found: tuple[Product, Any, str], ending: str, server: StageServer, room: rtc.Room
) -> None:
    """One connection; a stream that a flush has ended is not handed on, and nothing is lost."""
    product, module, _ = found
    row = FOUND[product.plugin, product.name]
    async with provider(product.script()) as lab:
        with tracks.Guarded() as guarded:
            typist = Typist(room, product.make(module, lab), ending)
            sid = ""
            for n in range(3):
                if sid:
                    server.unpublish(sid)
                    await server.settle()
                sid = server.publish("lobby", "alice")
                await server.settle()
                await until(lambda n=n: len(typist.streams) == n + 1)
                stream: Any = typist.streams[-1]
                for frame in frames(0.3):
                    stream.push_frame(frame)
                await until(lambda: bool(lab.open))
                await asyncio.sleep(0.1)
                await lab.say(lab.script.turn(CLEAR._replace(words=CLEAR.words[: n + 1])))
                await until(lambda n=n: len(typist.heard) == n + 1)
            heard = [text.split() for _, text in typist.heard]
            outcomes = guarded.outcomes()
            connections = lab.connections
            for opened in typist.streams:
                await opened.aclose()
            await typist.aclose()
    words = CLEAR.text.split()
    assert heard == [words[: n + 1] for n in range(3)]
    spent = ending == "end_input" and "nothing is heard" in row.found["flush"]
    assert outcomes == ["allowed", *(["observed"] if spent else ["reused"]) * 2]
    again = ending == "end_input" and ("reconnects" in row.found["flush"] or spent)
    assert connections == (3 if again else 1)
