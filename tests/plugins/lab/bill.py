"""Runs one language model or voice against its stand-in: what it reports, and what we bill."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from decimal import Decimal
from typing import Any

from livekit.agents import llm

from runguard_otel.cost.pricebook import PriceBook
from tests.kit.usage_desk import Desk
from tests.plugins.lab.loopback import PATIENCE, provider
from tests.plugins.lab.probe import QUICK, settle, until
from tests.plugins.lab.products import Product

__all__ = ["billed", "said_of"]

WHOLE, BEGUN, UNHEARD = 3, 2, 0
"""How many parts of its answer a provider sends."""
TEXT = "Good morning, this is a reply of fifty-five characters."


class Request:
    """One request, what its plugin reported of it, and the bill.

    Args:
        kind: ``llm`` or ``tts``.
        model: The model.
        desk: The meter.
        streams: Whether a voice is given its text by ``stream()``.
    """

    def __init__(self, kind: str, model: Any, desk: Desk, *, streams: bool = False) -> None:
        self.kind = kind
        self.streams = streams
        self.model = model
        self.desk = desk
        self.metrics: list[Any] = []
        self.heard = 0
        self.failed: BaseException | None = None
        model.on("metrics_collected", self.metrics.append)

    async def make(self, until_heard: Callable[[], bool] | None = None) -> None:
        """Ask, and read to the end, or until then; the stream is closed in any case."""
        if self.kind == "llm":
            context = llm.ChatContext.empty()
            context.add_message(role="user", content="Good morning")
            stream = self.model.chat(chat_ctx=context, conn_options=QUICK)
        elif self.streams:
            stream = self.model.stream(conn_options=QUICK)
            stream.push_text(TEXT)
            stream.end_input()
        else:
            stream = self.model.synthesize(TEXT, conn_options=QUICK)
        reading = asyncio.ensure_future(self._read(stream))
        done = until_heard or reading.done
        if not await until(lambda: done() or reading.done()):
            self.failed = TimeoutError("nothing came")
        await stream.aclose()
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)
        await settle()

    async def _read(self, stream: Any) -> None:
        try:
            async for part in stream:
                if self.kind == "tts" or part.delta:
                    self.heard += 1
        except asyncio.CancelledError:
            raise
        except Exception as error:  # noqa: BLE001 - it is what was asked for
            self.failed = error

    @property
    def report(self) -> str:
        """What the plugin's metrics say."""
        of = _tokens if self.kind == "llm" else _sound
        said = "; ".join(of(m) for m in self.metrics) or "nothing"
        return f"{type(self.failed).__name__}; {said}" if self.failed else said

    @property
    def bill(self) -> str:
        """What our meter makes of it."""
        return said_of(self.desk.meter.session_cost(), self.kind)


def said_of(cost: Any, kind: str) -> str:
    """A session's cost in words.

    Args:
        cost: What the meter says.
        kind: The component, ``llm`` or ``tts``.
    """
    amount: Decimal = getattr(cost, kind)
    said = [f"${amount.normalize():f}"] if amount else []
    for what, number in cost.unpriced.items():
        unit = what.partition("/")[2]
        said.append(f"{number.normalize():f} {unit}{'s' if number != 1 else ''} unpriced")
    return ", ".join(said) or "nothing"


def _tokens(m: Any) -> str:
    """Token counts of a language model's metrics."""
    parts = [f"{m.prompt_tokens} in"]
    if m.prompt_cached_tokens:
        parts.append(f"{m.prompt_cached_tokens} of them cached")
    parts.append(f"{m.completion_tokens} out")
    if getattr(m, "reasoning_tokens", 0):  # since 1.8
        parts.append(f"{m.reasoning_tokens} of them thinking")
    if m.total_tokens != m.prompt_tokens + m.completion_tokens:
        parts.append(f"{m.total_tokens} in all")
    return ", ".join(parts) + (", cancelled" if m.cancelled else "")


def _sound(m: Any) -> str:
    """Characters, seconds and tokens of a voice's metrics."""
    heard = f"{m.audio_duration:.1f} s"
    if m.cancelled:  # how much of it had arrived by then is a race
        heard = "some audio" if m.audio_duration else "no audio"
    parts = [f"{m.characters_count} characters, {heard}"]
    if m.input_tokens or m.output_tokens:
        parts.append(f"{m.input_tokens} tokens in, {m.output_tokens} out")
    return ", ".join(parts) + (", cancelled" if m.cancelled else "")


@contextlib.asynccontextmanager
async def requesting(
    kind: str, product: Product, module: Any, pause: int, *, tells: bool = True
) -> AsyncIterator[tuple[Request, Any]]:
    """A model on its stand-in and a meter with our prices."""
    script: Any = product.script()
    script.pause, script.tells = pause, tells
    serving = getattr(script, "serving", None)
    async with serving() if serving else provider(script) as lab:
        desk = Desk(PriceBook.load())
        try:
            model = product.make(module, lab)
            yield Request(kind, model, desk, streams=script.streams), script
            with contextlib.suppress(Exception):
                await asyncio.wait_for(model.aclose(), PATIENCE)
        finally:
            desk.patches.undo()


async def billed(kind: str, product: Product, module: Any, release: str) -> dict[str, Any]:
    """Everything about the bill that can be found out by running it.

    Args:
        kind: ``llm`` or ``tts``.
        product: What is run.
        module: Its plugin's module.
        release: Of the plugin.
    """
    row = {"plugin": product.plugin, "product": product.name, "release": release}
    async with requesting(kind, product, module, WHOLE) as (whole, _):
        await whole.make()
        names = {"provider": whole.model.provider, "model": whole.model.model}
        if whole.metrics and whole.metrics[0].metadata is not None:
            told = whole.metrics[0].metadata
            names = {"provider": str(told.model_provider), "model": str(told.model_name)}
        row |= {**names, "reply": whole.report, "bill": whole.bill}
    async with requesting(kind, product, module, BEGUN) as (begun, script):
        if script.begins:
            await begun.make(lambda: begun.heard > 0)
            row |= {"interrupted": begun.report, "interrupted_bill": begun.bill}
    async with requesting(kind, product, module, UNHEARD) as (unheard, script):
        await unheard.make(lambda: script.asked > 0)
        row |= {"unheard": unheard.report, "unheard_bill": unheard.bill}
    if kind == "llm":
        async with requesting(kind, product, module, WHOLE, tells=False) as (silent, _):
            await silent.make()
            row |= {"silent": silent.report, "silent_bill": silent.bill}
    return row
