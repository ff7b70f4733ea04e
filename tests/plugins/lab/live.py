"""Realtime models: stand-ins that speak, and what a session with one reports and costs.

A provider says what a reply used when it is over: text, sound, and what of both was read from its
cache. The numbers differ, so that what comes out tells which of them was taken.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable, Iterable
from decimal import Decimal
from importlib import import_module
from typing import Any, Final

from runguard_otel.cost.pricebook import PriceBook
from runguard_otel.testing.models import ScriptedAudioOutput
from tests.kit.usage_desk import Desk
from tests.plugins.lab.bill import said_of
from tests.plugins.lab.loopback import Provider, provider
from tests.plugins.lab.paused import Paused
from tests.plugins.lab.probe import settle, until
from tests.plugins.lab.products import Product
from tests.plugins.lab.voices import audio

__all__ = ["REALTIME", "lived"]

HEARD, READ, FROM_CACHE, TEXT_FROM_CACHE, SPOKEN, WRITTEN = 300, 100, 120, 40, 80, 20
"""Tokens: sound and text of the prompt, what of each was cached, sound and text of the reply."""
CUT: Final = 30
"""Tokens of sound in a reply that was interrupted."""
WHOLE, BEGUN, UNHEARD = 3, 2, 1


class Live(Paused):
    """What both have."""

    def interrupted(self) -> Iterable[Any]:
        """What it says when it hears that somebody interrupts it, without being told so."""
        return ()


class OpenAI(Live):
    """platform.openai.com, realtime over a websocket; xAI took it over."""

    def opened(self) -> Iterable[Any]:
        return [self._event("session.created", session={"type": "realtime", "id": "s"})]

    def _event(self, kind: str, **fields: Any) -> dict[str, Any]:
        return {"type": kind, "event_id": "e", **fields}

    def _response(self, status: str, *, spoken: int = 0, **fields: Any) -> dict[str, Any]:
        made: dict[str, Any] = {"object": "realtime.response", "id": "r", "status": status}
        if spoken and self.tells:
            written = WRITTEN if spoken == SPOKEN else 0
            made["usage"] = {
                "total_tokens": HEARD + READ + spoken + written,
                "input_tokens": HEARD + READ,
                "output_tokens": spoken + written,
                "input_token_details": {
                    "text_tokens": READ,
                    "audio_tokens": HEARD,
                    "image_tokens": 0,
                    "cached_tokens": FROM_CACHE + TEXT_FROM_CACHE,
                    "cached_tokens_details": {
                        "text_tokens": TEXT_FROM_CACHE,
                        "audio_tokens": FROM_CACHE,
                        "image_tokens": 0,
                    },
                },
                "output_token_details": {"text_tokens": written, "audio_tokens": spoken},
            }
        return {**made, "output": [], **fields}

    def _sound(self, half: bytes) -> dict[str, Any]:
        delta = base64.b64encode(half).decode()
        mine = {"response_id": "r", "item_id": "i", "output_index": 0, "content_index": 0}
        return self._event("response.output_audio.delta", delta=delta, **mine)

    def reply(self, said: Any) -> tuple[list[Any], ...]:
        """Its beginning, half of the sound, and the rest."""
        whole = audio("pcm", 24_000)
        middle = len(whole) // 4 * 2
        item = {"id": "i", "object": "realtime.item", "type": "message", "role": "assistant"}
        mine = {"response_id": "r", "output_index": 0}
        meta = (said.get("response") or {}).get("metadata")
        part = {"type": "audio", "transcript": ""}
        return (
            [
                self._event(
                    "response.created", response=self._response("in_progress", metadata=meta)
                )
            ],
            [
                self._event("response.output_item.added", item={**item, "content": []}, **mine),
                self._event("conversation.item.added", item={**item, "content": []}),
                self._event("response.content_part.added", item_id="i", part=part, **mine),
                self._sound(whole[:middle]),
            ],
            [
                self._sound(whole[middle:]),
                self._event("response.output_audio.done", item_id="i", **mine),
                self._event("response.output_item.done", item={**item, "content": []}, **mine),
                self._event("response.done", response=self._response("completed", spoken=SPOKEN)),
            ],
        )

    def heard(self, message: str) -> Iterable[Any]:
        said = json.loads(message)
        kind = said["type"]
        if kind == "conversation.item.create":
            return [self._event("conversation.item.added", item=said["item"])]
        if kind == "response.create":
            self.asked += 1
            return [one for part in self.reply(said)[: self.pause] for one in part]
        if kind == "response.cancel" and self.pause < WHOLE:
            spoken = CUT if self.pause == BEGUN else 1
            return [
                self._event("response.done", response=self._response("cancelled", spoken=spoken))
            ]
        return []


class Gemini(Live):
    """ai.google.dev, Live: usage comes with the end of a turn, and of an interrupted one."""

    def _usage(self, spoken: int) -> dict[str, Any]:
        if not self.tells:
            return {}
        parts = [("TEXT", READ), ("AUDIO", HEARD)]
        usage = {
            "promptTokenCount": HEARD + READ,
            "responseTokenCount": spoken,
            "totalTokenCount": HEARD + READ + spoken,
            "promptTokensDetails": [{"modality": m, "tokenCount": n} for m, n in parts],
            "responseTokensDetails": [{"modality": "AUDIO", "tokenCount": spoken}],
        }
        return {"usageMetadata": usage}

    def _sound(self, half: bytes) -> dict[str, Any]:
        data = base64.b64encode(half).decode()
        part = {"inlineData": {"mimeType": "audio/pcm;rate=24000", "data": data}}
        return {"serverContent": {"modelTurn": {"role": "model", "parts": [part]}}}

    def heard(self, message: str) -> Iterable[Any]:
        said = json.loads(message)
        whole = audio("pcm", 24_000)
        middle = len(whole) // 4 * 2
        if "setup" in said:
            return [json.dumps({"setupComplete": {}}).encode()]
        if said.get("clientContent", {}).get("turnComplete") or said.get("client_content"):
            self.asked += 1
            end = {"serverContent": {"generationComplete": True}}
            done = {"serverContent": {"turnComplete": True}, **self._usage(SPOKEN)}
            parts: Any = (
                [],
                [self._sound(whole[:middle])],
                [self._sound(whole[middle:]), end, done],
            )
            return self._written(one for part in parts[: self.pause] for one in part)
        return []

    def interrupted(self) -> Iterable[Any]:
        cut = {"serverContent": {"interrupted": True}}
        spoken = CUT if self.pause == BEGUN else 1
        return self._written(
            [cut, {"serverContent": {"turnComplete": True}, **self._usage(spoken)}]
        )

    @staticmethod
    def _written(messages: Iterable[Any]) -> list[bytes]:
        return [json.dumps(message).encode() for message in messages]


def openai(module: Any, lab: Provider) -> Any:
    return module.realtime.RealtimeModel(api_key="none", http_session=lab.session)


def google(module: Any, lab: Provider) -> Any:
    client: Any = import_module("google.genai.live")
    connect = import_module("websockets.asyncio.client").connect
    client.ws_connect = lambda *_, **__: connect(lab.ws)  # it knows no way without TLS
    return module.realtime.RealtimeModel(api_key="none")


REALTIME: Final = (
    Product("google", "realtime.RealtimeModel", Gemini, google),
    Product("openai", "realtime.RealtimeModel", OpenAI, openai),
    Product("xai", "realtime.RealtimeModel", OpenAI, openai),
)


class Talk:
    """A session with a realtime model, what it reports, and the bill.

    Args:
        model: The model.
        desk: The meter.
        lab: Its provider.
    """

    def __init__(self, model: Any, desk: Desk, lab: Provider) -> None:
        from livekit.agents import Agent, AgentSession

        self.model = model
        self.desk = desk
        self.lab = lab
        self.metrics: list[Any] = []
        self.sound = ScriptedAudioOutput(speed=20)
        self.session: Any = AgentSession(llm=model)
        self.session.output.audio = self.sound
        self.session.on("metrics_collected", lambda event: self.metrics.append(event.metrics))
        self.agent = Agent(instructions="Be brief.")

    async def begin(self) -> Any:
        """Start, and ask for a reply; its handle."""
        await self.session.start(self.agent)
        return self.session.generate_reply(instructions="Say good morning.")

    async def told(self) -> None:
        """Wait for what its provider says of the reply, if it says anything."""
        deadline = asyncio.get_running_loop().time() + 2
        while self.report == "nothing" and asyncio.get_running_loop().time() < deadline:
            await asyncio.sleep(0.01)

    async def end(self) -> None:
        """Close the session, and let what it reports arrive."""
        await settle()
        await self.session.aclose()
        await settle()

    @property
    def report(self) -> str:
        """What the metrics of its replies say; not how long it lasted, which is a race."""
        told = [m for m in self.metrics if m.type == "realtime_model_metrics"]
        return "; ".join(_tokens(m) for m in told if m.request_id) or "nothing"

    @property
    def bill(self) -> str:
        """What our meter makes of it; the time it was open is a race, its price is none."""
        cost = self.desk.meter.session_cost()
        price = self.desk.meter.book.find("llm", self.model.provider, self.model.model)
        seconds = [Decimal(str(m.session_duration)) for m in self.metrics if m.session_duration]
        if price is not None and "open_seconds" in price.rates:
            rate = price.rates["open_seconds"]
            whole = sum(seconds) * rate / price.per
            assert seconds and abs(cost.llm - whole) < Decimal("1e-20"), (cost.llm, whole)
            left = said_of(cost, "llm").partition(", ")[2]
            return f"${rate.normalize():f} for each {price.per} s" + (f", {left}" if left else "")
        return said_of(cost, "llm")


def _tokens(m: Any) -> str:
    given, made = m.input_token_details, m.output_token_details
    cached = given.cached_tokens_details
    if m.request_id == "session_close":
        return "the seconds it was open"
    parts = [f"{given.text_tokens} text and {given.audio_tokens} audio in"]
    if given.cached_tokens:
        parts.append(f"{cached.text_tokens} and {cached.audio_tokens} of them cached")
    parts.append(f"{made.text_tokens} text and {made.audio_tokens} audio out")
    return ", ".join(parts) + (", cancelled" if m.cancelled else "")


@contextlib.asynccontextmanager
async def talking(
    product: Product, module: Any, pause: int, *, tells: bool = True
) -> AsyncIterator[tuple[Talk, Any]]:
    """A session with a model on its stand-in, and a meter with our prices."""
    script: Any = product.script()
    script.pause, script.tells = pause, tells
    async with provider(script) as lab:
        desk = Desk(PriceBook.load())
        try:
            yield Talk(product.make(module, lab), desk, lab), script
        finally:
            desk.patches.undo()


async def _interrupted(talk: Talk, when: Callable[[], bool]) -> None:
    handle = await talk.begin()
    if not await until(when):
        raise TimeoutError("nothing came")
    handle.interrupt()
    await talk.lab.say(talk.lab.script.interrupted())  # type: ignore[attr-defined]
    with contextlib.suppress(asyncio.TimeoutError):
        await asyncio.wait_for(handle.wait_for_playout(), 5)
    await talk.told()
    await talk.end()


async def lived(product: Product, module: Any, release: str) -> dict[str, Any]:
    """Everything about the bill that can be found out by running it.

    Args:
        product: What is run.
        module: Its plugin's module.
        release: Of the plugin.
    """
    row = {"plugin": product.plugin, "product": product.name, "release": release}
    async with talking(product, module, WHOLE) as (talk, _):
        handle = await talk.begin()
        await asyncio.wait_for(handle.wait_for_playout(), 10)
        await talk.end()
        names = {"provider": talk.model.provider, "model": talk.model.model}
        row |= {**names, "reply": talk.report, "bill": talk.bill}
    async with talking(product, module, BEGUN) as (talk, script):
        await _interrupted(talk, lambda: bool(talk.sound.log))
        row |= {"interrupted": talk.report, "interrupted_bill": talk.bill}
    async with talking(product, module, UNHEARD) as (talk, script):
        await _interrupted(talk, lambda: script.asked > 0)
        row |= {"unheard": talk.report, "unheard_bill": talk.bill}
    async with talking(product, module, BEGUN) as (talk, script):
        await talk.begin()
        await until(lambda: bool(talk.sound.log))
        await talk.end()
        row |= {"hung_up": talk.report, "hung_up_bill": talk.bill}
    return row
