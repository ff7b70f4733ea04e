"""The Protocols through which adapters, claims and telemetry meet without importing each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from runguard_otel.core.verdict import Outcome, Subject, Trip

__all__ = ["AttributeValue", "Recorder", "Usage", "UsagePort"]

AttributeValue = str | bool | int | float


class Recorder(Protocol):
    """Where adapters report what they saw. No method raises, blocks or does I/O in the caller.

    ``context`` is an OpenTelemetry ``Context`` (or ``None`` for the current one); it is ``object``
    here because this layer knows nothing of OpenTelemetry.
    """

    def event(
        self,
        signature: str,
        outcome: Outcome,
        subject: Subject,
        *,
        attributes: Mapping[str, AttributeValue] | None = None,
        context: object | None = None,
    ) -> None:
        """One signature event: a span ``runguard.<class>`` and one ``runguard.signatures``.

        Args:
            signature: A member of ``core.signatures.SIGNATURES``.
            outcome: What was done with the event.
            subject: Whom it happened to; becomes span attributes, never labels.
            attributes: Extra span attributes, keys of the catalogue. Never user content unless the
                key has a ``pii`` segment.
            context: Parent of the span.
        """

    def trip(self, trip: Trip, *, context: object | None = None) -> None:
        """One trip: a ``runguard.trip`` span linked to its events, a count, a log, callbacks."""

    def guard_opened(self, guard: str) -> None:
        """``runguard.guards.open`` goes up."""

    def guard_closed(self, guard: str) -> None:
        """``runguard.guards.open`` goes down."""

    def add(self, metric: str, amount: float = 1, /, **attributes: str) -> None:
        """Add to a counter or up-down counter of the catalogue.

        Args:
            metric: The catalogue name, for example ``runguard.stt.results``.
            amount: How much; negative for up-down counters only.
            **attributes: Short attribute names of the catalogue row (``kind=...``), closed values.
        """

    def observe(self, metric: str, value: float, /, **attributes: str) -> None:
        """Record one value of a histogram of the catalogue, in its unit (seconds)."""

    def internal_error(self, where: str) -> None:
        """Our own code failed while serving the host: count it and log it once, with traceback.

        Call it inside the ``except`` block. ``where`` is from a closed set (the patch's name).
        """


@dataclass(frozen=True)
class Usage:
    """What one request used, as its provider meters it.

    Args:
        component: ``stt``, ``llm`` or ``tts``.
        provider: As LiveKit names it (``Deepgram``, ``api.openai.com``); ``""`` when unknown.
        model: As LiveKit names it; ``""`` when unknown.
        quantities: Amount by meter (``input_tokens``, ``characters``, ``audio_seconds``, ...; the
            meters of ``cost.metering``). Meters of one group do not overlap: cached tokens are
            not counted in ``input_tokens`` again.
        turn: Names the agent's turn it belongs to, where that is known.
        streamed: True for audio of a stream, which :meth:`UsagePort.stream_opened` also reports.
    """

    component: str
    provider: str
    model: str
    quantities: Mapping[str, float]
    turn: str = ""
    streamed: bool = False


class UsagePort(Protocol):
    """Where adapters report what was used, so that it can be priced.

    No method raises, blocks or does I/O. Keys are any hashable that stays the same from opening to
    closing, such as ``id(stream)``; reporting an unknown or already closed key is a no-op.
    """

    def used(self, usage: Usage) -> None:
        """One request was answered, or given up: whatever its provider will bill."""

    def stream_opened(self, key: object, provider: str, model: str) -> None:
        """A streaming STT session was opened (a real one, not the stream of an adapter)."""

    def stream_audio(self, key: object, seconds: float) -> None:
        """So much audio was pushed into it."""

    def stream_closed(self, key: object) -> None:
        """It ended, whoever ended it."""

    def connection_opened(self, key: object) -> None:
        """This process joined a room as a participant."""

    def connection_closed(self, key: object) -> None:
        """It left, or was removed."""
