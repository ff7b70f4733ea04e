"""livekit-agents 1.x: every place we touch in the host, one module per concern.

============  ====================================================  ================================
Module        Touches                                               For
============  ====================================================  ================================
``room``      ``rtc.Room.connect``, ``rtc.Room.emit``               reconnect loops, outages
``speech``    ``AudioRecognition._on_stt_event``,                   VAD misfires, from the final
              ``AgentActivity.on_end_of_turn``, ``TTS`` text,       result to the veto of an empty
              ``STT.recognize``, ``AgentSession.start``             turn
``realtime``  ``AgentActivity._on_generation_created`` and its       the same for models that hear
              kin, ``AgentActivity._schedule_speech``               the audio themselves
``dispatch``  ``JobRequest.accept``, ``ProcPool.__init__``,         one job per room and agent;
              ``_JobProc.__init__``, ``_JobProc.entrypoint``,       reaching job processes at all
              ``JobContext.connect``; start and end of an
              ``AgentSession``
``tracks``    ``rtc.Room.emit``, ``stream`` of every STT class      one STT stream per source
``streams``   ``RecognizeStream.__init__``, ``push_frame``          open streams, audio seconds
``usage``     ``AgentActivity._on_metrics_collected``; ``emit`` of  what it costs, in a session and
              ``LLM``, ``STT`` and ``TTS``                          outside of one
``hub``       ``AgentServer.run``, ``_JobProc._run_job_task``       life and end of telemetry
============  ====================================================  ================================

``runguard-otel doctor --verbose`` prints the rows themselves, with what is missing in the installed
release. ``context`` asks the host questions, ``services`` is what all modules share.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runguard_otel.adapters.agents_v1.services import Services
    from runguard_otel.adapters.patching import Patch

__all__ = ["patches"]

_MODULES: Final = {
    "hub": "telemetry",
    "usage": "telemetry",
    "room": "room_reconnect",
    "tracks": "track_subscribe",
    "streams": "telemetry",
    "speech": "vad_misfire",
    "dispatch": "job_dispatch",
}
"""In the order of installation, each with the guard that is lost without it."""


def patches(services: Services) -> list[Patch]:
    """Every patch of this adapter, in the order of installation.

    The order matters where two rows wrap the same method: the later one runs first. ``usage``
    stands before ``room`` so that a refused connect never counts as a connection.
    """
    from runguard_otel.adapters.patching import collect

    return collect({f"{__name__}.{name}": guard for name, guard in _MODULES.items()}, services)
