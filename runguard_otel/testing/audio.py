"""A microphone and a loudspeaker for ``AgentSession`` without a room."""

from __future__ import annotations

import asyncio
import inspect
import time
from typing import Any

from livekit import rtc
from livekit.agents import utils
from livekit.agents.voice import io

from runguard_otel.testing.rate import SAMPLE_RATE

__all__ = ["ScriptedAudioInput", "ScriptedAudioOutput"]


def _accepted(cls: type, **wanted: Any) -> dict[str, Any]:
    """The arguments this release's constructor knows; 1.0 has neither labels nor capabilities."""
    known = inspect.signature(cls.__init__).parameters  # type: ignore[misc]  # only inspected
    return {name: value for name, value in wanted.items() if name in known}


class ScriptedAudioInput(io.AudioInput):
    """A microphone: what is pushed is what the session hears. Counts the seconds heard.

    As with a room, what is said while the session does not listen is lost.
    """

    def __init__(self) -> None:
        super().__init__(**_accepted(io.AudioInput, label="scripted microphone"))
        self.seconds = 0.0
        self.lost_seconds = 0.0
        self._listening = True
        self._frames: utils.aio.Chan[rtc.AudioFrame] = utils.aio.Chan()

    def __aiter__(self) -> ScriptedAudioInput:
        return self

    async def __anext__(self) -> rtc.AudioFrame:
        frame = await self._frames.__anext__()
        self.seconds += frame.duration
        return frame

    def push(self, frame: rtc.AudioFrame) -> None:
        """Let the session hear one frame."""
        if self._listening:
            self._frames.send_nowait(frame)
        else:
            self.lost_seconds += frame.duration

    def on_attached(self) -> None:
        """The session listens."""
        self._listening = True

    def on_detached(self) -> None:
        """The session stopped listening."""
        self._listening = False

    def push_voice(self, seconds: float = 0.6) -> None:
        """Let the session hear some sound, as loud as a voice, and the silence after it."""
        samples = int(SAMPLE_RATE * seconds)
        loud = (1000).to_bytes(2, "little", signed=True) * samples
        self.push(rtc.AudioFrame(loud, SAMPLE_RATE, 1, samples))
        self.push_silence()

    def push_silence(self, seconds: float = 0.1, frame_seconds: float = 0.02) -> None:
        """Let the session hear silence, in frames of ``frame_seconds``."""
        samples = int(SAMPLE_RATE * frame_seconds)
        for _ in range(max(1, round(seconds / frame_seconds))):
            self.push(rtc.AudioFrame.create(SAMPLE_RATE, 1, samples))

    def close(self) -> None:
        """Hang up: the session's input ends."""
        self._frames.close()


class ScriptedAudioOutput(io.AudioOutput):
    """A loudspeaker that plays into nothing and takes as long as playing takes.

    Args:
        speed: How many seconds of speech pass per second of waiting; demos and tests are impatient.
        can_pause: Whether the session may pause it (it then resumes false interruptions).
    """

    def __init__(self, *, speed: float = 1.0, can_pause: bool = True) -> None:
        capabilities = getattr(io, "AudioOutputCapabilities", None)
        super().__init__(
            **_accepted(
                io.AudioOutput,
                label="scripted loudspeaker",
                capabilities=capabilities(pause=can_pause) if capabilities else None,
                sample_rate=SAMPLE_RATE,
            )
        )
        self.speed = speed
        self.played_seconds = 0.0
        self.interruptions = 0
        self.log: list[str] = []
        self._queued = 0.0
        self._started = 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._left = 0.0

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        """Queue one frame; the first of a segment starts the playback."""
        await super().capture_frame(frame)
        if not self._queued:
            self._started = time.monotonic()
            self.log.append("start")
            if hasattr(self, "on_playback_started"):
                self.on_playback_started(created_at=time.time())
        self._queued += frame.duration

    def flush(self) -> None:
        """The segment is complete: it ends when it has been played."""
        super().flush()
        if self._queued and self._timer is None:
            elapsed = (time.monotonic() - self._started) * self.speed
            self._wait(max(0.0, self._queued - elapsed))

    def clear_buffer(self) -> None:
        """The session was interrupted: stop at once."""
        if not self._queued:
            return
        self.interruptions += 1
        self.log.append("clear")
        if self._timer is not None:
            self._timer.cancel()
        elapsed = (time.monotonic() - self._started) * self.speed
        super().flush()
        self._finish(min(self._queued, elapsed), interrupted=True)

    def pause(self) -> None:
        """Hold the playback."""
        self.log.append("pause")
        if self._timer is not None:
            self._left = max(0.0, self._timer.when() - asyncio.get_running_loop().time())
            self._timer.cancel()

    def resume(self) -> None:
        """Go on after a pause."""
        self.log.append("resume")
        if self._timer is not None and self._timer.cancelled():
            self._wait(self._left * self.speed)

    def _wait(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        self._timer = loop.call_later(
            seconds / self.speed, lambda: self._finish(self._queued, interrupted=False)
        )

    def _finish(self, position: float, *, interrupted: bool) -> None:
        self.log.append("interrupted" if interrupted else "end")
        self.played_seconds += position
        self._queued, self._timer, self._left = 0.0, None, 0.0
        self.on_playback_finished(playback_position=position, interrupted=interrupted)
