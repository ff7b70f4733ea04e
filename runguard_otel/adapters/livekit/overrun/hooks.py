"""Every place we touch for ``session_overrun``: what begins, what ends, and signs of life."""

from __future__ import annotations

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.facts.job import session_type
from runguard_otel.adapters.livekit.facts.turn import silence_detection
from runguard_otel.adapters.livekit.overrun.guard import OverrunGuard
from runguard_otel.adapters.livekit.overrun.streams import StreamWatch
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import Patch
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode

__all__ = ["patches", "rows"]


def patches(services: Services) -> list[Patch]:
    """The table; 0.12 has no sessions and lacks those rows."""
    if services.mode(GuardName.SESSION_OVERRUN) is Mode.OFF:
        return []
    return rows(services, OverrunGuard(services))


def rows(services: Services, guard: OverrunGuard) -> list[Patch]:
    """The rows that tell ``guard`` what happens."""
    streams = StreamWatch(services, guard)
    hooks = Hooks(services.recorder, GuardName.SESSION_OVERRUN)
    room, stream = "livekit.rtc:Room", "livekit.agents.stt:RecognizeStream"
    found = [
        hooks.after(room, "connect", guard.joined, why="Knows who is there when the agent comes."),
        hooks.before(room, "emit", guard.room_event, why="Knows who comes and goes."),
        hooks.around(
            "livekit.agents.ipc.job_proc_lazy_main:_JobProc",
            "_run_job_task",
            guard.run_job,
            why="Knows when a job was asked to end, and when it has ended.",
        ),
        hooks.after(stream, "__init__", streams.opened, why="Knows the STT streams a job holds."),
        hooks.around(
            stream,
            "_main_task",
            streams.run,
            why="Fails a stream whose provider closes again and again; else changes nothing.",
        ),
        hooks.written(stream, "__anext__", streams.hearing, why="Knows what a stream recognised."),
        hooks.before(
            "aiohttp:ClientSession",
            "ws_connect",
            streams.connecting,
            why="Counts the connections that a recogniser opens; looks at no other.",
        ),
    ]
    session = session_type()
    if session is None:  # 0.12
        return found
    alive = "A sign of life: the application asked for a reply."
    detection = silence_detection()
    if detection is not None:
        unasked = "What LiveKit asks for because nobody speaks is no sign of life."
        found.append(
            hooks.around(detection, "_on_silence_detected", guard.silence_asks, why=unasked)
        )
    return [
        *found,
        hooks.after(session, "start", guard.session_started, why="A session begins."),
        hooks.around(session, "_aclose_impl", guard.closing, why="A session ends, or hangs."),
        hooks.written(session, "say", guard.asking, why=alive),
        hooks.written(session, "generate_reply", guard.asking, why=alive),
    ]
