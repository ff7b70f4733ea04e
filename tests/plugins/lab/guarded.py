"""Runs one recogniser under the guards: who speaks is heard, noise trips, flapping tracks share.

The plugin's own streams, the real hooks, a real ``AgentSession``. What comes of it is a fact like
any other: where a guard can do nothing, ``docs/limits.md`` says so.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any, Final

from livekit.agents import stt

from runguard_otel.testing.calls import Call, call
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit import tracks
from tests.kit.speech import Guarded
from tests.kit.stage_room import lobby, stage
from tests.plugins.lab.loopback import Provider, provider
from tests.plugins.lab.probe import (
    change_options,
    facts,
    frames,
    measured,
    pause,
    settle,
    until,
)
from tests.plugins.lab.products import Product
from tests.plugins.lab.said import CLEAR, FAINT, NOISE, Said

__all__ = ["recogniser", "silenced"]

ROW: Final = 5
"""As many as trip by default."""
SPEECH: Final = (CLEAR, FAINT, FAINT._replace(numbers=False))
TRACKS: Final = 3
SOON: Final = 2.0
"""Seconds for what takes milliseconds, where it may also be that nothing comes."""


class Turns:
    """A call whose caller is heard by the recogniser, under the misfire guard.

    Args:
        lab: Its provider.
        call: The call.
        guarded: The guard.
        batch: Whether the recogniser is asked for each voice.
    """

    def __init__(self, lab: Provider, call: Call, guarded: Guarded, batch: bool) -> None:
        self.lab, self.call, self.guarded, self.batch = lab, call, guarded, batch
        self.number = 0

    async def hear(self, said: Said | None) -> bool:
        """A voice, and what the provider makes of it; another word each, so none is repeated.

        Returns:
            Whether a result came of it.
        """
        if said is not None:
            first = said.words[0]._replace(text=f"{said.words[0].text}{self.number}")
            said = said._replace(words=(first, *said.words[1:]))
        self.number += 1
        before = self.results
        self.call.vad.start_of_speech()
        await settle(20)
        if self.batch:
            self.lab.batch, asked = said, self.lab.requests
            self.call.vad.end_of_speech()
            await until(lambda: self.lab.requests > asked, SOON)
        else:
            script = self.lab.script
            await self.lab.say(script.noise() if said is None else script.turn(said))
        if said is None:
            await pause(0.05)
        else:
            await until(lambda: self.results > before, SOON)
        if not self.batch:
            self.call.vad.end_of_speech()
        await settle()
        self.guarded.now += 4.0
        return self.results > before

    async def answered(self, number: int) -> bool:
        """Whether the language model was asked so often."""
        return await until(lambda: len(self.call.asked) >= number, SOON)

    @property
    def results(self) -> float:
        """How many final results the guard has seen."""
        return self.guarded.recorder.count("runguard.stt.results")


@contextlib.asynccontextmanager
async def calling(product: Product, module: Any, batch: bool) -> AsyncIterator[Turns]:
    """A call with this recogniser; with ``batch``, by LiveKit's adapter around ``recognize()``."""
    async with provider(product.script()) as lab:
        with Guarded() as guarded:
            model, detector = product.make(module, lab), ScriptedVAD()
            if batch:
                model = stt.StreamAdapter(stt=model, vad=detector)
            async with call(recogniser=model, detector=detector) as c:
                if not batch:
                    for frame in frames(1.0):
                        c.input.push(frame)
                    await lab.connected()
                    await settle()
                    await pause(0.05)
                yield Turns(lab, c, guarded, batch)


async def _clear(product: Product, module: Any, batch: bool) -> str:
    """Whether clear speech reaches the model, whatever the number of its recogniser is."""
    async with calling(product, module, batch) as turns:
        kept = 0
        for said in SPEECH:
            for _ in range(ROW):
                before = len(turns.call.asked)
                if await turns.hear(said):  # some plugins want numbers
                    kept += not await turns.answered(before + 1)
        if kept or turns.guarded.kinds or turns.guarded.recorder.trips:
            return f"{kept} of {ROW * len(SPEECH)} kept back, {len(turns.guarded.kinds)} misfires"
    return "heard"


async def _unsure(product: Product, module: Any, batch: bool) -> str:
    """What a row of words at low scores does."""
    async with calling(product, module, batch) as turns:
        for _ in range(ROW):
            await turns.hear(NOISE)
        return await _verdict(turns)


async def _wordless(product: Product, module: Any, batch: bool) -> str:
    """What a row of voices without words does."""
    async with calling(product, module, batch) as turns:
        for _ in range(ROW):
            await turns.hear(None)
        return await _verdict(turns)


async def _verdict(turns: Turns) -> str:
    trips = turns.guarded.recorder.trips
    await until(lambda: trips or len(turns.call.asked) >= turns.results, SOON)
    if trips:
        return f"trips at the {trips[0].count}th"
    if not turns.results:
        return "no result"
    asked = len(turns.call.asked)
    return "passes" if asked == ROW else f"{asked} of {ROW} pass"


class Typist(tracks.Transcriber):
    """What users write; keeps the final results only."""

    async def _read(self, stream: Any, number: int) -> None:
        async for event in stream:
            if event.type is stt.SpeechEventType.FINAL_TRANSCRIPT:
                self.heard.append((number, event.alternatives[0].text))


async def _tracks(product: Product, module: Any, ending: str, updates: bool = False) -> str:
    """What becomes of the stream of a track that flaps three times.

    Args:
        product: Whose.
        module: Its plugin.
        ending: What the application calls at the end of a track, if anything.
        updates: Whether it calls ``update_options`` between them.
    """
    async with provider(product.script()) as lab:
        with stage() as server, tracks.Guarded() as guarded:
            async with lobby(server) as room:
                typist = Typist(room, product.make(module, lab), ending)
                sid = ""
                for n in range(TRACKS):
                    if sid:
                        server.unpublish(sid)
                        await server.settle()
                        if updates:
                            change_options(typist.model)
                    sid = server.publish("lobby", "alice")
                    await server.settle()
                    await until(partial(_are, typist.streams, n + 1))
                    for frame in frames(0.3):
                        typist.streams[-1].push_frame(frame)
                    await until(lambda: bool(lab.open))
                    await pause(0.2)
                    await lab.say(lab.script.turn(CLEAR._replace(words=CLEAR.words[: n + 1])))
                    await until(partial(_are, typist.heard, n + 1), 3.0)
                heard = [text.split() for _, text in typist.heard]
                reused = guarded.recorder.count(
                    "runguard.track.subscriptions", subscription="reused"
                )
                connections = lab.connections
                for opened in typist.streams:
                    await opened.aclose()
                await typist.aclose()
    words = CLEAR.text.split()
    shared = {0: "not shared", TRACKS - 1: "shared"}.get(int(reused), "shared once")
    whole = "whole" if heard == [words[: n + 1] for n in range(TRACKS)] else f"heard {heard}"
    several = "new connections" if updates else f"{connections} connections"  # how many is a race
    return f"{shared}, {several if connections > 1 else '1 connection'}, {whole}"


def _are(items: list[Any], number: int) -> bool:
    return len(items) >= number


Measure = Callable[[Product, Any, bool], Awaitable[str]]
MISFIRES: Final = {"clear": _clear, "unsure": _unsure, "wordless": _wordless}


def _named(name: str, measure: Callable[[Product, Any], Awaitable[str]]) -> Any:
    async def step(product: Product, module: Any) -> dict[str, Any]:
        return {name: await measure(product, module)}

    step.__name__ = name
    return step


def _of_batch(measure: Measure, batch: bool) -> Callable[[Product, Any], Awaitable[str]]:
    return lambda product, module: measure(product, module, batch)


def _over_tracks(ending: str, updates: bool) -> Callable[[Product, Any], Awaitable[str]]:
    return lambda product, module: _tracks(product, module, ending, updates)


OVER_TRACKS: Final = {
    "tracks": _over_tracks("", False),
    "tracks_end_input": _over_tracks("end_input", False),
    "tracks_updated": _over_tracks("", True),
}


async def recogniser(product: Product, module: Any, release: str) -> dict[str, Any]:
    """Everything that can be found out about a recogniser by running it, alone and guarded."""
    return await facts(product, module, release) | await silenced(product, module)


async def silenced(product: Product, module: Any) -> dict[str, Any]:
    """What the guards make of it."""
    steps = []
    if product.streams:
        steps += [_named(name, _of_batch(one, False)) for name, one in MISFIRES.items()]
        steps += [_named(name, one) for name, one in OVER_TRACKS.items()]
    if product.batch:
        steps += [_named(f"batch_{name}", _of_batch(one, True)) for name, one in MISFIRES.items()]
    return await measured(steps, product, module)
