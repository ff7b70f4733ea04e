"""Recogniser streams: how long they are open, and how often they open their connection.

An attempt of LiveKit's retry loop is one connection, and so is each further websocket that the
plugin opens within it: some reconnect by themselves, for ever and without an error.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, Final

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts.job import in_session
from runguard_otel.adapters.livekit.facts.models import is_stt_adapter, model_names
from runguard_otel.adapters.livekit.facts.streams import (
    FINAL_TRANSCRIPT,
    abort_stream,
    final_words,
    on_attempt,
    refused_stream,
    stt_of,
    when_stream_ends,
)
from runguard_otel.adapters.livekit.open_periods import OpenPeriods
from runguard_otel.adapters.livekit.overrun.guard import OverrunGuard
from runguard_otel.adapters.livekit.overrun.watch import GUARD, JobWatch
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.notes import note, noted
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.recogniser import STT_RECONNECT, StreamPolicy
from runguard_otel.core.ports import AttributeValue
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode, Outcome

__all__ = ["StreamWatch"]

_ENTRY: Final = "_runguard_overrun"
_running: ContextVar[_Entry | None] = ContextVar("runguard_stt_stream", default=None)


class _Entry:
    """One stream of a recogniser."""

    __slots__ = ("attempt_is_fresh", "error", "model", "policy", "session", "stream", "watch")

    def __init__(self, stream: Any, watch: JobWatch, policy: StreamPolicy, session: bool) -> None:
        self.stream = stream
        self.watch = watch
        self.policy = policy
        self.session = session
        self.model = stt_of(stream)
        self.attempt_is_fresh = False
        self.error: Exception | None = None


class StreamWatch:
    """The hooks of recogniser streams.

    Args:
        services: Settings and recorder.
        guard: Knows whose job it is.
    """

    def __init__(self, services: Services, guard: OverrunGuard) -> None:
        self._services = services
        self._guard = guard
        self._judged = services.mode(GuardName.VAD_MISFIRE) is not Mode.OFF
        self._open = OpenPeriods(services.recorder)
        services.on_close.append(self._open.close)

    def opened(self, stream: Any, *_: Any, **__: Any) -> None:
        """``RecognizeStream.__init__``: adapters open real streams inside."""
        if is_stt_adapter(stt_of(stream)):
            return
        watch = self._guard.current()
        if watch is None:
            return
        policy = self._services.policies.stream(self._guard.watchdog.clock)
        entry = _Entry(stream, watch, policy, in_session())
        note(stream, _ENTRY, entry)
        watch.streams.add(stream)
        watch.tell(lambda policy: policy.stream_opened(id(stream)))
        on_attempt(stream, lambda: self._attempt(entry))
        when_stream_ends(stream, lambda _: self._closed(entry, id(stream)))

    async def run(self, wrapped: Any, stream: Any, args: Any, kwargs: Any) -> Any:
        """``RecognizeStream._main_task``: ends with our error where we ended it."""
        entry: _Entry | None = noted(stream, _ENTRY)
        token = _running.set(entry)
        try:
            return await wrapped(*args, **kwargs)
        except asyncio.CancelledError:
            if entry is None or entry.error is None:
                raise
            raise refused_stream(stream, entry.error) from None
        finally:
            _running.reset(token)

    def connecting(self, *_: Any, **__: Any) -> None:
        """``aiohttp.ClientSession.ws_connect``, by anybody in this process."""
        entry = _running.get()
        if entry is None:
            return
        if entry.attempt_is_fresh:
            entry.attempt_is_fresh = False
        else:
            self._connected(entry)

    def hearing(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``RecognizeStream.__anext__``: words are a sign of life, and make reconnects worth it.

        Written out, for most of what it passes on are guesses.
        """

        async def __anext__(stream: Any) -> Any:
            event = await original(stream)
            if live:
                try:
                    if event.type == FINAL_TRANSCRIPT:
                        self._heard(stream, event)
                except Exception:  # noqa: BLE001 - the contract that hooks.written leaves to it
                    failed("RecognizeStream.__anext__")
            return event

        return __anext__

    def _heard(self, stream: Any, event: Any) -> None:
        entry: _Entry | None = noted(stream, _ENTRY)
        if entry is None or not final_words(event):
            return
        entry.policy.genuine()
        if not (entry.session and self._judged):  # else the misfire guard says what is genuine
            entry.watch.active()

    def _attempt(self, entry: _Entry) -> None:
        with shield(self._services.recorder, "RecognizeStream._run"):
            self._connected(entry)
            entry.attempt_is_fresh = True

    def _connected(self, entry: _Entry) -> None:
        decision = entry.policy.connected(entry.watch.policy.subject)
        if not decision.signature:
            return
        recorder, mode = self._services.recorder, self._services.mode(GUARD)
        provider, model = model_names(entry.model)
        attributes: dict[str, AttributeValue] = {
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": model,
        }
        outcome = Outcome.of(decision.verdict, mode)
        recorder.event(STT_RECONNECT, outcome, entry.watch.policy.subject, attributes=attributes)
        if decision.trip is not None:
            recorder.trip(decision.trip)
            self._open.opened(decision.trip, lambda: entry.policy.quiet_left)
        if decision.open and mode is Mode.ENFORCE and entry.error is None:
            entry.error = RuntimeError("the provider's connection was opened again and again")
            if entry.stream is not None:
                abort_stream(entry.stream)

    def _closed(self, entry: _Entry, key: int) -> None:
        with shield(self._services.recorder, "RecognizeStream.__init__"):
            entry.policy.genuine()  # it is over: nothing of it is open any more
            self._open.sweep()
            entry.stream = None  # which has this entry: neither is to wait for the collector
            entry.watch.tell(lambda policy: policy.stream_closed(key))
