"""Runs one recogniser against its stand-in, and says what it does."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import logging
import re
from array import array
from collections.abc import AsyncIterator, Callable
from typing import Any

from livekit import rtc
from livekit.agents import APIError
from livekit.agents.types import APIConnectOptions

from tests.plugins.lab.loopback import ENDLESS, PATIENCE, Provider, provider
from tests.plugins.lab.products import Product
from tests.plugins.lab.said import GONE, NAMELESS, Said, meaning

__all__ = [
    "Listening",
    "change_options",
    "facts",
    "frames",
    "listening",
    "measured",
    "pause",
    "settle",
    "until",
]

QUICK = APIConnectOptions(max_retry=3, retry_interval=0.001, timeout=PATIENCE)
ROUND = 0.005
"""Seconds between two looks. Waiting is counted in looks: in each, all that is ready has its turn,
so who waits has waited long enough on any machine."""
ALMOST = 2.8
"""Seconds of the three that are all but the rest of a chunk."""
OPTIONS: dict[str, Any] = {
    "language": "fr",
    "languages": ["fr"],
    "keyterms": ["word"],
    "keyterm": ["word"],
    "model": "other",
    "max_turn_silence": 900,
}
"""What ``update_options`` is asked to change: the first that it knows."""
SHORT = {
    "start_of_speech": "start",
    "interim_transcript": "interim",
    "preflight_transcript": "preflight",
    "final_transcript": "final",
    "end_of_speech": "end",
}


def frames(seconds: float, rate: int = 16000) -> list[rtc.AudioFrame]:
    """A hum in frames of 20 ms; some plugins do not send silence."""
    samples = rate // 50
    hum = array("h", ((8000 if n // 20 % 2 else -8000) for n in range(samples)))
    frame = rtc.AudioFrame(hum.tobytes(), rate, 1, samples)
    return [frame] * round(seconds * 50)


async def settle(rounds: int = 200) -> None:
    """Let everything that is ready run."""
    for _ in range(rounds):
        await asyncio.sleep(0)


async def until(reached: Callable[[], Any], seconds: float = PATIENCE) -> bool:
    """Whether it came about; later on a machine that is busy otherwise.

    Args:
        reached: Asked again and again until it says something true.
        seconds: How long that may take here, where this process has the time it needs.
    """
    for _ in range(round(seconds / ROUND)):
        if reached():
            return True
        await asyncio.sleep(ROUND)
    return bool(reached())


async def pause(seconds: float) -> None:
    """Let pass what takes this long where the process has the time it needs."""
    await until(lambda: False, seconds)


class Listening:
    """A stream of a recogniser, its events, and what was measured of it."""

    def __init__(self, lab: Provider, model: Any) -> None:
        self.lab = lab
        self.model = model
        self.events: list[Any] = []
        self.metrics: list[Any] = []
        self.errors: list[Any] = []
        self.failed: BaseException | None = None
        model.on("metrics_collected", self.metrics.append)
        model.on("error", self.errors.append)
        self.stream = model.stream(conn_options=QUICK)
        self.task = asyncio.ensure_future(self._listen())

    async def _listen(self) -> None:
        try:
            async for event in self.stream:
                self.events.append(event)
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it is what was asked for
            self.failed = error

    def push(self, seconds: float, rate: int = 0) -> None:
        for frame in frames(seconds, rate or self.rate):
            self.stream.push_frame(frame)

    @property
    def rate(self) -> int:
        return int(self.stream._needed_sr or 16000)

    @property
    def names(self) -> list[str]:
        """What came, in short."""
        return [SHORT[e.type.value] for e in self.events if e.type.value in SHORT]

    def of(self, name: str) -> list[Any]:
        """The events of a kind."""
        return [e for e in self.events if SHORT.get(e.type.value) == name]

    async def said(self, messages: Any) -> list[str]:
        """Have the provider say this; the names of what comes of it."""
        before = len(self.names)
        await self.lab.say(messages)
        await settle()
        return self.names[before:]

    async def turn(self, said: Said) -> list[str]:
        """An utterance; waits for its final result."""
        finals, before = len(self.of("final")), len(self.names)
        await self.lab.say(self.lab.script.turn(said))
        await until(lambda: len(self.of("final")) > finals, 1.5)
        await settle()
        return self.names[before:]

    async def close(self) -> None:
        """Close the stream; what does not end by that ends with its provider."""
        closing = asyncio.ensure_future(self.stream.aclose())
        await until(closing.done, 3.0)
        closing.cancel()
        self.task.cancel()
        await asyncio.gather(closing, self.task, return_exceptions=True)


@contextlib.asynccontextmanager
async def listening(product: Product, module: Any) -> AsyncIterator[Listening]:
    """A stream on its stand-in, connected and fed with a second of audio."""
    async with provider(product.script()) as lab:
        here = Listening(lab, product.make(module, lab))
        try:
            here.push(1.0)
            await lab.connected()
            await settle()
            await pause(0.05)
            yield here
        finally:
            await here.close()


def named(model: Any) -> dict[str, str]:
    """What telemetry calls it."""
    provider, name = getattr(model, "lab_names", None) or (model.provider, model.model)
    return {"provider": provider, "model": name}


def number(event: Any) -> float | None:
    """The confidence of a result, or ``None`` without one."""
    return float(event.alternatives[0].confidence) if event.alternatives else None


def kinds(events: list[Any], said: Said = GONE) -> str:
    """What the confidence of these results is."""
    found = [number(e) for e in events]
    names = [meaning(n, said) for n in found if n is not None]
    return " or ".join(dict.fromkeys(names)) or "-"


async def facts(product: Product, module: Any, release: str) -> dict[str, Any]:
    """Everything that can be found out about a recogniser by running it."""
    steps: list[Any] = []
    if product.streams:
        steps += [_results, _noise, _usage, _closed, _flush, _end, _updated]
    if product.batch:
        steps += [_batch]
    identity = {"plugin": product.plugin, "product": product.name, "release": release}
    return identity | await measured(steps, product, module)


async def measured(steps: list[Any], product: Product, module: Any) -> dict[str, Any]:
    """What these measurements find, one after the other."""
    found: dict[str, Any] = {}
    for step in steps:
        try:
            found |= await asyncio.wait_for(step(product, module), 12 * PATIENCE)
        except Exception as error:  # noqa: BLE001 - a table with a hole says where
            found[step.__name__.strip("_")] = f"failed: {type(error).__name__}: {error}"[:200]
    return found


async def _results(product: Product, module: Any) -> dict[str, Any]:
    """Confidences, the order of events, and names."""
    async with listening(product, module) as here:
        first = await here.turn(GONE)
        finals, interims = here.of("final"), here.of("interim")
        preflights = here.of("preflight")
        second = await here.turn(GONE)
        model = here.model
        rate = here.stream._needed_sr
    async with listening(product, module) as there:
        await there.turn(NAMELESS)
        absent = kinds(there.of("final"))
    return {
        **named(model),
        "rate": str(rate or "any"),
        "final": kinds(finals),
        "interim": kinds(interims),
        "preflight": kinds(preflights),
        "absent": absent,
        "turn": ", ".join(first),
        "again": "the same" if second == first else ", ".join(second) or "nothing",
        "finals": str(len(finals)),
    }


async def _noise(product: Product, module: Any) -> dict[str, Any]:
    """What comes of a voice that was none."""
    async with listening(product, module) as here:
        names = await here.said(here.lab.script.noise())
        await pause(0.05)
        blanks = [number(e) for e in here.of("final")]
    said = ", ".join(names) or "nothing"
    return {"noise": said, "blank": "-" if not blanks else f"'' at {blanks[0]}"}


async def _usage(product: Product, module: Any) -> dict[str, Any]:
    """What the usage events of 3 s of audio (4 s if they tarry) and two utterances add up to."""
    async with listening(product, module) as here:
        here.push(2.0)
        await pause(0.1)
        await here.turn(GONE)
        await here.turn(GONE)
        await pause(0.05)
        if not any(m.audio_duration for m in here.metrics):
            await until(lambda: any(m.audio_duration for m in here.metrics), 5.5)
            with contextlib.suppress(Exception):
                here.push(1.0)  # some report only while audio flows
            await until(lambda: any(m.audio_duration for m in here.metrics), 1.0)
        here.stream.end_input()
        await until(lambda: here.task.done(), 1.0)
        await here.lab.close(1000)
        await until(lambda: here.task.done(), 3.0)
        await settle()
        counted = [m for m in here.metrics if m.type == "stt_metrics" and not m.acquire_time]
        seconds = sum(m.audio_duration for m in counted)
        tokens = sum((m.input_tokens or 0) + (m.output_tokens or 0) for m in counted)
    if not counted:
        said = "none"
    elif not seconds:
        said = "always 0 s"
    elif seconds > ALMOST:
        said = "pushed audio"  # while it flows or at the end: that is a matter of five seconds
    else:
        said = f"{seconds:.1f} s of 3"
    return {"usage": f"{said}, and tokens" if tokens else said}


async def _closed(product: Product, module: Any) -> dict[str, Any]:
    """How often it connects to a provider that accepts and closes at once."""
    found = {}
    for name, code in (("closed", 1011), ("closed_normally", 1000)):
        async with provider(product.script()) as lab:
            lab.closes_with = code
            here = Listening(lab, product.make(module, lab))

            def over(here: Listening = here, lab: Provider = lab) -> bool:
                if not here.task.done():
                    with contextlib.suppress(RuntimeError):
                        here.push(0.02)
                return here.task.done() or lab.connections > ENDLESS

            await until(over, 3.0)
            if here.task.done():
                how = type(here.failed).__name__ if here.failed else "the stream ends"
                said = f"{_connections(lab)}, then {how}"
            elif lab.connections > ENDLESS:
                said = "no end" + ("" if here.errors else ", no error said")
            else:
                said = f"{_connections(lab)}, then silence"
                said += "" if here.errors else ", no error said"
            found[name] = said
            await here.close()
    return found


async def _flush(product: Product, module: Any) -> dict[str, Any]:
    """What ``flush()`` does to a stream: what it says to the provider, and whether it goes on."""
    async with listening(product, module) as here:
        before = len(here.lab.texts)
        here.push(0.2)
        await pause(0.05)
        here.stream.flush()
        await pause(0.1)
        sent = [t for t in here.lab.texts[before:] if len(t) < 200]
        heard = False
        with contextlib.suppress(Exception):
            here.push(0.2)
            await until(lambda: here.lab.open, 1.0)
            await pause(0.05)
            heard = "final" in await here.turn(GONE)
        connections = here.lab.connections
    kind = "no message" if not sent else "; ".join(dict.fromkeys(_kind(t) for t in sent))
    if connections > 1:
        kind += ", reconnects"
    return {"flush": kind if heard else f"{kind}, nothing is heard afterwards"}


async def _end(product: Product, module: Any) -> dict[str, Any]:
    """What ``end_input()`` does: what it says, and whether what is still to come is heard."""
    async with listening(product, module) as here:
        before = len(here.lab.texts)
        here.stream.end_input()
        await pause(0.15)
        sent = [t for t in here.lab.texts[before:] if len(t) < 200]
        late = "-"
        if not here.task.done() and here.lab.open:
            with contextlib.suppress(Exception):
                late = "heard" if "final" in await here.turn(GONE) else "not heard"
        await here.lab.close(1000)
        ended = await until(here.task.done, 1.5 * PATIENCE)
        how = type(here.failed).__name__ if here.failed else "ends"
        connections = here.lab.connections
    said = "no message" if not sent else "; ".join(dict.fromkeys(_kind(t) for t in sent))
    found = f"{said}; late result {late}; then {how if ended else 'hangs'}"
    return {"end_input": found + (f", {connections} connections" if connections > 1 else "")}


def change_options(model: Any) -> str:
    """Change one option of it; the name of that, or why there is none."""
    update = getattr(model, "update_options", None)
    if update is None:
        return "none"
    known = inspect.signature(update).parameters
    name = next((name for name in OPTIONS if name in known), "")
    if not name:
        return f"takes {', '.join(list(known)[:3])}"
    try:
        update(**{name: OPTIONS[name]})
    except Exception as error:  # noqa: BLE001 - that it refuses is a fact, too
        return f"{name}: {type(error).__name__}"
    return name


async def _updated(product: Product, module: Any) -> dict[str, Any]:
    """Whether ``update_options`` of the model reaches a stream that is open, and how."""
    async with listening(product, module) as here:
        texts = len(here.lab.texts)
        name = change_options(here.model)
        if name not in OPTIONS:
            return {"update_options": name}
        here.push(0.3)
        await until(lambda: here.lab.connections > 1, 2.0)
        value = OPTIONS[name]
        wanted = json.dumps(value[0] if isinstance(value, list) else value)
        told = re.compile(rf"(?<![\w]){re.escape(wanted)}(?![\w])")
        if here.lab.connections > 1:
            said = "reconnects"
        elif any(told.search(text) for text in here.lab.texts[texts:]):
            said = "message"
        else:
            said = "later streams only"
        return {"update_options": f"{name}: {said}"}


async def _batch(product: Product, module: Any) -> dict[str, Any]:
    """What ``recognize()`` says of words, and of silence."""
    async with provider(product.script()) as lab:
        model = product.make(module, lab)
        metrics: list[Any] = []
        model.on("metrics_collected", metrics.append)
        lab.batch = GONE
        event = await model.recognize(frames(1.0), conn_options=QUICK)
        said = kinds([event])
        lab.batch = None
        try:
            blank = await model.recognize(frames(1.0), conn_options=QUICK)
        except APIError as error:
            silence = type(error).__name__
        except Exception as error:  # noqa: BLE001 - whatever a plugin raises is the fact
            silence = type(error).__name__
        else:
            texts = [a.text for a in blank.alternatives]
            silence = f"{SHORT[blank.type.value]} {texts or 'without alternatives'}"
        return {
            **named(model),
            "batch": said,
            "batch_silence": silence,
            "batch_event": SHORT[event.type.value],
        }


def _connections(lab: Provider) -> str:
    """How many there were; gRPC makes some again by itself, or not, as it comes."""
    if lab.connections > 1 and not lab.counts_exactly:
        return "a few connections"
    return f"{lab.connections} connection{'s' if lab.connections > 1 else ''}"


def _kind(text: str) -> str:
    """A message, without what varies."""
    try:
        data = json.loads(text)
    except ValueError:
        return text[:40]
    if isinstance(data, dict):
        for name in ("type", "message", "event", "message_type"):
            if name in data:
                return str(data[name])
        return ", ".join(sorted(data))[:60]
    return text[:40]


def quiet() -> None:
    """What plugins log is not the table."""
    logging.disable(logging.CRITICAL)
