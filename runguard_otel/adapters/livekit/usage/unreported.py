"""Requests that reached a provider and of which the host reports nothing.

LiveKit measures a request when it ends well. One that is given up before its first chunk (three of
four preemptive answers), or that ran into a timeout, is never measured, and its provider bills it
all the same: it counts as one request without a price. What a provider refused, or what never
reached it, is not billed and counts as nothing. A voice that is given its text in pieces is
measured when a piece has been spoken: what a caller interrupts counts with the characters that it
was given, as their provider bills them.
"""

from __future__ import annotations

import asyncio
from contextvars import ContextVar
from typing import Any, Final
from weakref import ref

from runguard_otel.adapters.hooks import Failed, Hook
from runguard_otel.adapters.livekit.facts.models import is_adapter, names_of
from runguard_otel.adapters.livekit.facts.streams import (
    asked_model,
    measured_twice,
    replace_attempts,
    unmeasured_characters,
    was_refused,
)
from runguard_otel.adapters.notes import note, read
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import Recorder, Usage, UsagePort

__all__ = ["Unreported", "measured_inside"]

_ENTRY: Final = "_runguard_request"
_measured: ContextVar[_Request | None] = ContextVar("runguard_request", default=None)


class _Request:
    """One request, which may take several attempts. As it begins, so that making one is cheap."""

    inside = False
    """Another one makes it, and is measured."""
    open = False
    lost = 0
    reported = False
    run: Any = None
    of: Any = None
    """A weak reference to the stream whose request it is."""

    async def attempt(self, *args: Any, **kwargs: Any) -> Any:
        """In the place of what is awaited for each attempt."""
        self.open = True
        try:
            return await self.run(self.of(), *args, **kwargs)
        except Exception as error:
            self.open = False
            if not was_refused(error):
                self.lost += 1
            raise


_made_by: dict[type, str] = {}
"""Who asks the provider, by the class of a stream: ``model``, an ``adapter`` by streams inside of
it, or ``another`` stream of the same model, which is measured as well."""
_MOST_CLASSES: Final = 256


def _who_makes(stream: Any) -> str:
    if len(_made_by) >= _MOST_CLASSES:
        _made_by.clear()
    if is_adapter(asked_model(stream)):
        found = "adapter"
    else:
        found = "another" if measured_twice(stream) else "model"
    _made_by[type(stream)] = found
    return found


def measured_inside() -> bool:
    """The host has measured the request whose monitor is running.

    Returns:
        Whether the stream inside of it is measured as well: then that one counts.
    """
    entry = _measured.get()
    if entry is None:
        return False
    entry.reported = True
    return entry.inside


class Unreported:
    """The hooks of the streams of models.

    Args:
        port: Where what was used is priced.
        recorder: Gets what fails.
        component: ``llm``, ``tts`` or ``stt``.
    """

    def __init__(self, port: UsagePort, recorder: Recorder, component: str) -> None:
        self._port = port
        self._recorder = recorder
        self._component = component

    def opening(self, original: Hook, live: list[bool], failed: Failed) -> Hook:
        """``__init__`` of a stream: its attempts are watched on this stream alone."""

        def __init__(stream: Any, *args: Any, **kwargs: Any) -> None:
            original(stream, *args, **kwargs)
            if live:
                try:
                    made_by = _made_by.get(type(stream)) or _who_makes(stream)
                    if made_by == "model":
                        entry = _Request()
                        note(stream, _ENTRY, entry)
                        entry.run, entry.of = replace_attempts(stream, entry.attempt), ref(stream)
                    elif made_by == "another":
                        entry = _Request()
                        note(stream, _ENTRY, entry)
                        entry.inside = True
                except Exception:  # noqa: BLE001 - the contract that hooks.written leaves to it
                    failed(original.__qualname__)  # of a model's stream, or one of a voice's

        return __init__

    def measuring(self, original: Hook, live: list[bool], _: Failed) -> Hook:
        """``_metrics_monitor_task``: what it has not reported when it ends is lost to it.

        Written out, for it is resumed with each piece of an answer.
        """
        cut_later = self._component == "tts"  # an answer may be, after it was measured

        async def _metrics_monitor_task(stream: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                entry: _Request | None = read(stream, _ENTRY) if live else None
            except AttributeError:
                entry = None
            _measured.set(entry)  # until its task ends, which is now or right after
            try:
                return await original(stream, *args, **kwargs)
            finally:
                if entry is not None and (
                    entry.lost or (entry.open and (cut_later or not entry.reported))
                ):
                    self._unmeasured(stream, entry)

        return _metrics_monitor_task

    async def recognising(self, wrapped: Any, model: Any, args: Any, kwargs: Any) -> Any:
        """``STT.recognize``: one request for one piece of audio."""
        if is_adapter(model):
            return await wrapped(*args, **kwargs)
        entry = _Request()
        token = _measured.set(entry)
        try:
            return await wrapped(*args, **kwargs)
        except (Exception, asyncio.CancelledError) as error:
            with shield(self._recorder, "STT.recognize"):
                if not was_refused(error):
                    entry.lost += 1
                    self._count(model, entry)
            raise
        finally:
            _measured.reset(token)

    def _unmeasured(self, stream: Any, entry: _Request) -> None:
        with shield(self._recorder, "metrics_monitor"):
            # What was refused, or never arrived, is not open: its text is not billed.
            characters = unmeasured_characters(stream) if entry.open else 0
            self._count(asked_model(stream), entry, characters)

    def _count(self, model: Any, entry: _Request, characters: int = 0) -> None:
        """What its provider bills: characters where they are known, else the request as such."""
        number = entry.lost + (entry.open and not entry.reported and not characters)
        entry.lost, entry.open = 0, False
        if not (number or characters):
            return
        provider, name = names_of(model)
        for meter, amount in (("characters", characters), ("requests", number)):
            if amount:
                self._port.used(Usage(self._component, provider, name, {meter: amount}))
