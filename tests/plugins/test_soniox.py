"""livekit-plugins-soniox 1.8.9: it opens a closed connection anew by itself, for ever.

No attempt of LiveKit's retry loop ends meanwhile, and no error is said: only who counts the
websockets of a stream sees it. Ten minutes in a moment.
"""

from __future__ import annotations

from typing import Any

import aiohttp
import pytest

plugin: Any = pytest.importorskip(
    "livekit.plugins.soniox", reason="livekit-plugins-soniox: run `make test-plugins`"
)

from livekit.agents import stt  # noqa: E402  # only with it

from runguard_otel.core.verdict import Mode  # noqa: E402
from tests.kit.closing_provider import Provider, is_ended, listens, played  # noqa: E402
from tests.kit.overrun import Stage  # noqa: E402

pytestmark = pytest.mark.livekit

RECONNECT = "session_overrun:stt_reconnect"
TEN_MINUTES = 600.0
PATH = "/transcribe"
HEARD = {
    "tokens": [
        {"text": "A table for two.", "is_final": True, "confidence": 0.97},
        {"text": "<end>", "is_final": True},
    ],
    "total_audio_proc_ms": 900,
}


def of(address: str, http: aiohttp.ClientSession) -> stt.STT[Any]:
    """The recogniser of that provider."""
    recogniser: stt.STT[Any] = plugin.STT(
        api_key="none", base_url=f"ws://{address}{PATH}", http_session=http
    )
    return recogniser


async def ten_minutes(_: Stage, address: str, http: aiohttp.ClientSession) -> None:
    await listens(of(address, http).stream(), TEN_MINUTES)


def test_ten_minutes_of_a_connection_that_lasts_twelve_seconds() -> None:
    """Fails if only the attempts of LiveKit's retry loop are counted: there is one."""
    provider = Provider(12, PATH)
    stage = played(ten_minutes, provider)
    assert 45 <= len(provider.opened) <= 51
    assert stage.tripped == [RECONNECT]
    (trip,) = stage.recorder.trips
    first, fifth = provider.opened[0], provider.opened[4]
    assert trip.count == 5
    assert trip.evidence[0].seconds_before == pytest.approx(fifth - first, abs=1)
    providers = {event.attributes["gen_ai.provider.name"] for event in stage.recorder.events}
    assert providers == {"Soniox"}
    assert stage.recorder.open_guards["session_overrun"] == 0, "the stream has ended"


def test_enforce_ends_the_stream_before_the_fifth_connection() -> None:
    """Fails if the stream is told and its plugin connects all the same."""
    provider = Provider(12, PATH)

    async def refused(_: Stage, address: str, http: aiohttp.ClientSession) -> None:
        await is_ended(of(address, http), provider, 4 * 12)

    stage = played(refused, provider, Mode.ENFORCE)
    assert len(provider.opened) == 4, "the fifth never reached it"
    assert stage.tripped == [RECONNECT]


def test_a_provider_that_hears_and_closes_every_half_minute() -> None:
    """Fails if the words of this plugin are not taken for words."""
    provider = Provider(25, PATH, says=HEARD)
    stage = played(ten_minutes, provider, Mode.ENFORCE)
    assert len(provider.opened) >= 20
    assert stage.tripped == []
