"""Slips of the pen. A checker must find each: the marked lines, and no other."""

import runguard_otel
from runguard_otel import Settings
from runguard_otel import Trip
from runguard_otel import instrumnt  # slip
from runguard_otel.errors import LoopDetectionError  # slip
from runguard_otel.typing import TripCallbak  # slip

guard = runguard_otel.instrument()
runguard_otel.instrument(mod="observe")  # slip
runguard_otel.instrument(mode="obsrve")  # slip
runguard_otel.instrument(vad_misfire_limit="five")  # slip
runguard_otel.instrument({"mode": "observe"})  # slip
runguard_otel.instrument(on_trip="page")  # slip
runguard_otel.instrument(tracer_provider=3)  # slip
Settings(disable=True)  # slip
Settings(claims_unreachable="maybe")  # slip
runguard_otel.uninstrumented()  # slip
guard.settings.vad_misfire_limt  # slip
guard.snapshots()  # slip
runguard_otel.RoomReconnectGuard("r", max_reconnects=3)  # slip
runguard_otel.VADMisfireGuard().on_stt_result("hello")  # slip


@guard.on_trip  # slip
def page(trip: str) -> None: ...


def explain(trip: Trip) -> str:
    return trip.explains()  # slip
