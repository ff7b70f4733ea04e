"""What the documentation shows, as a user writes it: no checker may complain."""

from __future__ import annotations

from typing import TYPE_CHECKING

import runguard_otel
from runguard_otel import (
    JobDispatchGuard,
    LoopDetectedError,
    LoopDetector,
    RoomReconnectGuard,
    RunGuard,
    Settings,
    SettingsError,
    TrackSubscriptionGuard,
    Trip,
    VADMisfireGuard,
    current_claim,
    current_session_cost,
)
from runguard_otel.errors import ReconnectLoopError
from runguard_otel.typing import Mode, SettingsOverrides, TripCallback

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider

guard: RunGuard = runguard_otel.instrument()
runguard_otel.instrument(mode="observe", vad_misfire_mode=Mode.OFF, claims_ttl_seconds=9)
runguard_otel.instrument(Settings(disabled=True))
runguard_otel.instrument(Settings(mode="enforce", room_reconnect_limit=4), max_keys=100)

overrides: SettingsOverrides = {"mode": "off", "claims_url": "redis://localhost"}
runguard_otel.instrument(**overrides)


def with_provider(provider: TracerProvider) -> RunGuard:
    return runguard_otel.instrument(tracer_provider=provider)


@guard.on_trip
def page(trip: Trip) -> int:
    print(trip.guard, trip.signature, trip.count, trip.window_seconds, trip.explain())
    return trip.count


@guard.on_trip
async def tell(trip: Trip) -> None:
    print(trip.action, [e.signature for e in trip.evidence])


pages: int = page(Trip.__new__(Trip))  # the decorator keeps the function's type
callback: TripCallback = tell
runguard_otel.instrument(on_trip=page)
snapshot: dict[str, object] = guard.snapshot()
mode: Mode = guard.settings.mode
limit: int = guard.settings.vad_misfire_limit


async def four_guards() -> bool:
    try:
        RoomReconnectGuard("support-42", max_reconnects_per_window=3, window_seconds=60).check()
    except ReconnectLoopError as error:
        print(error.trip, error.message)
    except LoopDetectedError as error:
        print(error.message, error.trip.explain() if error.trip else "")
    heard: bool = VADMisfireGuard(consecutive_empty_limit=5).on_stt_result("hello", 0.9)
    first: bool = TrackSubscriptionGuard(window_seconds=30).on_subscribe("PA_1")
    match = LoopDetector(repeats=3, max_cycle_len=2).push("room_reconnect:network")
    async with JobDispatchGuard("support-42", "worker-1") as claim:
        mine: bool = await claim.claim(timeout_seconds=5.0)
        return mine and heard and first and match is None


def from_inside_a_job() -> int:
    claim = current_claim()
    print(current_session_cost().total)
    return claim.token if claim is not None else 0


try:
    runguard_otel.instrument(prices="prices.toml")
except SettingsError as problem:
    print(problem)
runguard_otel.uninstrument()
