"""LiveKit Inference's recogniser against a provider that closes each connection: virtual time.

The real client, a websocket server on the loopback, ten minutes in a moment.
"""

from __future__ import annotations

import asyncio
import gc
import weakref
from typing import Any

import aiohttp
import pytest

inference: Any = pytest.importorskip("livekit.agents.inference", reason="since 1.2")

from livekit.agents import stt  # noqa: E402  # only with it

from runguard_otel.core.verdict import Mode  # noqa: E402
from runguard_otel.testing.models import ScriptedSTT  # noqa: E402
from tests.kit.closing_provider import Provider, is_ended, listens, played  # noqa: E402
from tests.kit.overrun import Stage, retries_for_ever  # noqa: E402

pytestmark = [pytest.mark.livekit, retries_for_ever]

RECONNECT = "session_overrun:stt_reconnect"
TEN_MINUTES = 600.0
PATH = "/stt"
HEARD = {"type": "final_transcript", "transcript": "a table for two"}


def of(address: str, http: aiohttp.ClientSession) -> stt.STT[Any]:
    """The recogniser of that provider."""
    key: dict[str, Any] = {"api_key": "key", "api_secret": "s" * 32, "http_session": http}
    recogniser: stt.STT[Any] = inference.STT("deepgram/nova-3", base_url=f"http://{address}", **key)
    return recogniser


async def ten_minutes(_: Stage, address: str, http: aiohttp.ClientSession) -> None:
    await listens(of(address, http).stream(), TEN_MINUTES)


def test_a_provider_that_closes_every_twelve_seconds_is_never_given_up_by_livekit() -> None:
    """Its budget starts over with each attempt that lived; ours does not: a trip in a minute."""
    provider = Provider(12, PATH)
    stage = played(ten_minutes, provider)
    assert 45 <= len(provider.opened) <= 51
    assert stage.tripped == [RECONNECT]
    trip = stage.recorder.trips[0]
    assert trip.count == 5
    first, fifth = provider.opened[0], provider.opened[4]
    assert trip.evidence[0].seconds_before == pytest.approx(fifth - first, abs=1)
    assert {e.outcome for e in stage.recorder.events} == {"observed"}
    assert stage.recorder.open_guards["session_overrun"] == 0, "the stream has ended"


def test_enforce_ends_the_stream_at_the_fifth_connection() -> None:
    """As its provider would, without a retry: no stream and no connection is left."""
    provider = Provider(12, PATH)

    async def refused(_: Stage, address: str, http: aiohttp.ClientSession) -> None:
        await is_ended(of(address, http), provider, 4 * 12)

    stage = played(refused, provider, Mode.ENFORCE)
    assert len(provider.opened) == 4, "the fifth never reached it"
    assert stage.tripped == [RECONNECT]


@pytest.mark.parametrize("seconds", [60, 180])
def test_routine_idle_reconnects_are_none_of_ours(seconds: float) -> None:
    """A muted microphone: one a minute or fewer. Fails if any reconnect without words counts."""
    provider = Provider(seconds, PATH)
    stage = played(ten_minutes, provider, Mode.ENFORCE)
    assert len(provider.opened) >= TEN_MINUTES // seconds
    assert stage.tripped == []


def test_a_provider_that_hears_and_closes_every_half_minute() -> None:
    """Fails if words between are not looked at."""
    provider = Provider(25, PATH, says=HEARD)
    stage = played(ten_minutes, provider, Mode.ENFORCE)
    assert len(provider.opened) >= 20
    assert stage.tripped == []


def test_a_stream_that_has_ended_does_not_wait_for_the_garbage_collector() -> None:
    """It would keep what its plugin holds. LiveKit lets go of one whose input was ended first."""
    left: list[bool] = []

    async def opened_and_ended(stage: Stage, _: str, __: aiohttp.ClientSession) -> None:
        stream: Any = ScriptedSTT().stream()
        watch = stage.guard.current()
        assert watch is not None
        assert stream in watch.streams
        seen = weakref.ref(stream)
        stream._stt.streams.clear()
        await asyncio.sleep(0.1)
        stream.end_input()
        async for _event in stream:
            pass
        await stream.aclose()
        del stream
        await asyncio.sleep(2)
        left.append(seen() is None)

    gc.collect()
    gc.disable()
    try:
        played(opened_and_ended, Provider(12, PATH))
    finally:
        gc.enable()
    assert left == [True]
