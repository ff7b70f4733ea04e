"""LiveKit: every place we touch in livekit-agents 0.12 and 1.x, and why.

One folder per guard. In each, ``hooks`` says where we stand in the host, ``facts`` (shared by all)
says what LiveKit is, and the rest says what we do. What has another shape in 0.12 stands beside its
1.x sibling as ``*_0_12``. No folder of a guard imports another one's.

================  ==================================================  ==============================
Folder            Touches                                             For
================  ==================================================  ==============================
``process``       ``AgentServer.run``, ``drain`` (``Worker``),       life and end of telemetry;
                  ``_JobProc._run_job_task``, ``ProcPool.__init__``,  reaching job processes at all
                  ``_JobProc.__init__``
``usage``         ``AgentActivity._on_metrics_collected``; ``emit``   what it costs, in a session
                  of ``LLM``, ``STT``, ``TTS``; ``RecognizeStream``;  and outside of one
                  0.12: ``emit`` of agents
``reconnect``     ``rtc.Room.connect``, ``.disconnect``, ``.emit``;   reconnect loops, outages
                  ``RoomService.delete_room``
``subscription``  ``rtc.Room.emit``, ``stream`` of every STT class;   one STT stream per source
                  0.12: ``HumanInput._recognize_task``
``misfire``       ``AudioRecognition._on_stt_event``,                 VAD misfires, from the final
                  ``AgentActivity.on_end_of_turn`` and what           result to the veto of an empty
                  realtime models call instead, ``TTS`` text,         turn
                  ``STT.recognize``, ``AgentSession.start``;
                  0.12: ``HumanInput.emit``, ``VoicePipelineAgent``'s
                  validation of a turn, ``STTSegmentsForwarder``
``dispatch``      ``JobRequest.accept``, ``_JobProc.entrypoint``,     one job per room and agent
                  ``JobContext.connect``; start and end of an
                  ``AgentSession``
``overrun``       ``Room.connect``, ``Room.emit``,                    sessions that go on too long
                  ``_JobProc._run_job_task``, ``RecognizeStream``,
                  ``ClientSession.ws_connect`` of aiohttp; start,
                  end and replies of an ``AgentSession``
================  ==================================================  ==============================

``runguard-otel doctor --verbose`` prints the rows themselves, with what is missing in the installed
release. ``services`` is what all folders are given by the composition root.
"""

from __future__ import annotations

from functools import cache
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from runguard_otel.adapters.livekit.services import Services
    from runguard_otel.adapters.patching import Patch

__all__ = ["modules", "patches", "unusable"]

_TABLE: Final = {
    "process.hooks": "telemetry",
    "usage.hooks": "telemetry",
    "reconnect.hooks": "room_reconnect",
    "subscription.hooks": "track_subscribe",
    "misfire.hooks": "vad_misfire",
    "dispatch.hooks": "job_dispatch",
    "overrun.hooks": "session_overrun",
}
"""In the order of installation, each with the guard that is lost without it.

The order matters where two rows wrap the same method: the later one runs first. ``usage`` stands
before ``reconnect`` so that a refused connect never counts as a connection.
"""

_OTHER_IN_0_12: Final = {
    "usage.hooks": "usage.hooks_0_12",
    "subscription.hooks": "subscription.hooks_0_12",
    "misfire.hooks": "misfire.hooks_0_12",
}
"""What 0.12 has in another shape: it has agents where 1.x has sessions."""


_OF_ROOMS_ALONE: Final = ("reconnect.hooks",)
"""What a program needs that has ``livekit.rtc`` and no agents."""


def patches(services: Services, *, rooms_alone: bool = False) -> list[Patch]:
    """Every patch for the installed livekit-agents, in the order of installation.

    Args:
        services: What all folders are given.
        rooms_alone: Touch, and import, nothing but ``livekit.rtc``.
    """
    from runguard_otel.adapters.patching import collect

    return collect(modules(rooms_alone=rooms_alone), services)


def modules(*, rooms_alone: bool = False) -> dict[str, str]:
    """The modules with the rows for the installed release, each with the guard that needs it.

    Args:
        rooms_alone: Only those that need nothing but ``livekit.rtc``; so it is also where
            livekit-agents is not installed.
    """
    if rooms_alone or not _installed("livekit.agents"):
        return {f"{__name__}.{name}": _TABLE[name] for name in _OF_ROOMS_ALONE}
    # By its package: a class that a later release renames must not make it look like 0.12.
    other = _OTHER_IN_0_12 if _installed("livekit.agents.pipeline") else {}
    return {f"{__name__}.{other.get(name, name)}": guard for name, guard in _TABLE.items()}


def unusable() -> Exception | None:
    """Why livekit-agents, though it is installed, cannot be imported; ``None`` if it can.

    Releases 1.2 to 1.5 do not import beside openai 3, which no longer brings the httpx they need
    (``findings/an-agent-that-no-longer-imports.sh``).
    """
    if not _installed("livekit.agents"):
        return None
    try:
        import_module("livekit.agents")
    except Exception as error:  # noqa: BLE001 - whatever a package does when it is imported
        return error
    return None


@cache  # asked in a forkserver, and answered in its jobs
def _installed(name: str) -> bool:
    try:
        return find_spec(name) is not None
    except ModuleNotFoundError:  # not even the package that it would be in
        return False
