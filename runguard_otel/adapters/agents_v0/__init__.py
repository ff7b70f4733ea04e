"""livekit-agents 0.12: every place we touch in the host, one module per concern.

What 0.12 shares with 1.x (rooms, STT streams, worker and job processes) is touched by the very same
modules of ``agents_v1``; they ask the host what it has. Only what has another shape is here.

======================  ==========================================  ==============================
Module                  Touches                                     For
======================  ==========================================  ==============================
``agents_v1.hub``       ``Worker.run``, ``_JobProc._run_job_task``  life and end of telemetry
``agents_v1.room``      ``rtc.Room.connect``, ``rtc.Room.emit``     reconnect loops, outages
``agents_v1.dispatch``  ``JobRequest.accept``,                      one job per room and agent;
                        ``ProcPool.__init__``, ``_JobProc``         reaching job processes at all
``agents_v1.streams``   ``RecognizeStream``                         open streams, audio seconds
``tracks``              ``HumanInput._recognize_task``, and all of  one STT stream per source, where
                        ``agents_v1.tracks``                        0.12 opens one per track
``speech``              ``HumanInput.emit``,                        VAD misfires, where 0.12 asks
                        ``HumanInput._recognize_task``,             the LLM even without words;
                        ``VoicePipelineAgent``'s validation of a    of a ``MultimodalAgent`` they
                        turn, ``STTSegmentsForwarder.update``,      are observed
                        ``TTS`` text
``agents``              ``start``, ``emit``, ``aclose`` of agents   which agent; when it speaks
``usage``               ``emit`` of agents                          what it costs
======================  ==========================================  ==============================
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runguard_otel.adapters.agents_v1.services import Services
    from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]


_ADAPTERS = __name__.rpartition(".")[0]
_MODULES: Final = {
    "agents_v1.hub": "telemetry",
    "agents_v0.usage": "telemetry",
    "agents_v1.room": "room_reconnect",
    "agents_v0.tracks": "track_subscribe",
    "agents_v1.streams": "telemetry",
    "agents_v0.speech": "vad_misfire",
    "agents_v1.dispatch": "job_dispatch",
}
"""In the order of installation, each with the guard that is lost without it."""


def patches(services: Services) -> list[Patch]:
    """Every patch of this adapter, in the order of installation; see ``agents_v1.patches``."""
    from runguard_otel.adapters.patching import collect

    return collect({f"{_ADAPTERS}.{name}": guard for name, guard in _MODULES.items()}, services)
