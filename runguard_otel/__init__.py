"""runguard-otel: see, stop and report the loops that make LiveKit voice agents expensive.

One line in ``agent.py``, before the worker starts::

    import runguard_otel

    runguard_otel.instrument()

From then on every event that belongs to one of these loops becomes a span and a counter per
signature, a detector in this process decides (no network in the path), and a guard stops the waste:

==================  ==========================================  ==================================
Loop                Trips on                                    What enforce does
==================  ==========================================  ==================================
room reconnects     3rd ``Room.connect`` again within 60 s      refuses the connect
VAD misfires        5 empty, unsure or echoed results in a row  keeps them from the LLM
duplicate jobs      a second job for the same room and agent    refuses the second job
track subscribes    3rd subscription of one source in 30 s      one STT stream for all of them
==================  ==========================================  ==================================

``mode="observe"`` counts and reports the same and changes nothing. ``RUNGUARD_DISABLED=true``
patches nothing. Nothing here ends a call by default, raises into your code except
:class:`LoopDetectedError` and its subclasses, or registers a global telemetry provider. Settings:
``docs/settings.md``.

The four guards also work alone, without LiveKit and without OpenTelemetry set up::

    from runguard_otel import RoomReconnectGuard

    guard = RoomReconnectGuard("support-42")
    guard.check()  # raises LoopDetectedError on the third reconnect within a minute

Where to read on: ``adapters/livekit/__init__`` (everything touched in the host, and why), then
``core/guards``, ``telemetry/catalogue`` and ``alerts/``.
"""

from __future__ import annotations

from runguard_otel._lazy import lazy

TYPE_CHECKING = False  # as typing's, to every checker; that module alone is 10 ms of importing us
if TYPE_CHECKING:
    from runguard_otel.claims.current import current_claim
    from runguard_otel.claims.guard import JobDispatchGuard
    from runguard_otel.core.guards.misfire import VADMisfireGuard
    from runguard_otel.core.guards.reconnect import RoomReconnectGuard
    from runguard_otel.core.guards.subscription import TrackSubscriptionGuard
    from runguard_otel.core.loop import LoopDetector, LoopMatch
    from runguard_otel.core.verdict import Trip
    from runguard_otel.cost import current_session_cost
    from runguard_otel.errors import LoopDetectedError, RunGuardError, SettingsError
    from runguard_otel.instrumentor import RunGuard, instrument, uninstrument
    from runguard_otel.settings import Settings

__version__ = "0.1.0"

__all__ = [
    # one line
    "instrument",
    "uninstrument",
    "RunGuard",
    "Settings",
    # four guards
    "RoomReconnectGuard",
    "VADMisfireGuard",
    "JobDispatchGuard",
    "TrackSubscriptionGuard",
    # what they are made of
    "LoopDetector",
    "LoopMatch",
    "Trip",
    # ask from inside a job
    "current_claim",
    "current_session_cost",
    # what they raise
    "LoopDetectedError",
    "RunGuardError",
    "SettingsError",
]

# Loaded on first use: `import runguard_otel` must cost next to nothing, and the guards must work
# where neither LiveKit nor an OpenTelemetry SDK can be imported.
_HOME = {
    "instrument": "instrumentor",
    "uninstrument": "instrumentor",
    "RunGuard": "instrumentor",
    "Settings": "settings",
    "RoomReconnectGuard": "core.guards.reconnect",
    "VADMisfireGuard": "core.guards.misfire",
    "JobDispatchGuard": "claims.guard",
    "TrackSubscriptionGuard": "core.guards.subscription",
    "LoopDetector": "core.loop",
    "LoopMatch": "core.loop",
    "Trip": "core.verdict",
    "current_claim": "claims.current",
    "current_session_cost": "cost",
    "LoopDetectedError": "errors",
    "RunGuardError": "errors",
    "SettingsError": "errors",
}

if not TYPE_CHECKING:  # a checker that sees it takes every misspelt name for one of ours
    __getattr__, __dir__ = lazy(__name__, _HOME)
