"""The misfire guard installed over calls of the stage, and a recogniser that breaks."""

from __future__ import annotations

import asyncio
from typing import Any

from livekit.agents import APIConnectionError, stt

from runguard_otel.adapters.livekit.misfire import hooks as speech
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.patching import PatchSet
from runguard_otel.settings import Settings
from runguard_otel.testing.listening import ScriptedSTT
from tests.kit.recorder import Event, MemoryRecorder

HAS_PREFLIGHT = hasattr(stt.SpeechEventType, "PREFLIGHT_TRANSCRIPT")  # since 1.2


class BreakableSTT(ScriptedSTT):
    """A provider whose open streams can fail."""

    def stream(self, **options: Any) -> stt.RecognizeStream:
        opened: Any = super().stream(**options)
        opened.broken = asyncio.get_running_loop().create_future()
        listen = opened._run

        async def run() -> None:
            listening = asyncio.ensure_future(listen())
            try:
                await asyncio.wait({listening, opened.broken}, return_when="FIRST_COMPLETED")
                if opened.broken.done():
                    raise APIConnectionError("the provider is down")
            finally:
                listening.cancel()

        opened._run = run
        return opened  # type: ignore[no-any-return]

    def fail(self) -> None:
        """The newest stream breaks."""
        stream: Any = self.streams[-1]
        stream.broken.set_result(None)


class Guarded:
    """The speech adapter installed, with what it recorded and a clock to turn.

    ``on=False`` installs nothing: the host as it is.
    """

    def __init__(
        self, on: bool = True, recorder: MemoryRecorder | None = None, **settings: Any
    ) -> None:
        self.now = 1000.0
        self.recorder = recorder or MemoryRecorder()
        self.services = Services(Settings.load(**settings), self.recorder)
        table = speech.patches(self.services, lambda: self.now) if on else []
        self.patches = PatchSet(table)

    def __enter__(self) -> Guarded:
        self.patches.install()
        return self

    def __exit__(self, error: object = None, *_: object) -> None:
        self.patches.undo()
        self.services.close()
        if error is None and not self.recorder.tolerant:
            assert not self.recorder.errors, "an event emitter swallowed it: see `where`"

    @property
    def kinds(self) -> list[str]:
        """The misfires counted, without their class, in order; voice segments left out."""
        return [e.signature.partition(":")[2] for e in self._misfires]

    @property
    def outcomes(self) -> list[str]:
        return [str(e.outcome) for e in self._misfires]

    @property
    def _misfires(self) -> list[Event]:
        return [e for e in self.recorder.events if not e.signature.endswith("no_transcript")]
