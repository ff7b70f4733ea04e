"""The Protocols through which adapters, claims and telemetry meet without importing each other."""

from __future__ import annotations

from collections.abc import Coroutine, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runguard_otel.core.verdict import Outcome, Subject, Trip

__all__ = [
    "AttributeValue",
    "ClaimAnswer",
    "ClaimEvent",
    "ClaimHandle",
    "ClaimListener",
    "ClaimsPort",
    "JobFacts",
    "Lifecycle",
    "Recorder",
    "Usage",
    "UsagePort",
]

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


class Lifecycle(Protocol):
    """Told when the worker and its jobs begin and end, which is when telemetry opens and flushes.

    Only ``flush`` and ``stop_worker`` block; adapters call them in a thread.
    """

    @property
    def hub_address(self) -> str | None:
        """Where job processes report, once the worker runs; ``None`` without a hub."""

    @property
    def metrics_url(self) -> str | None:
        """Where the worker serves ``/metrics``, once it runs and if it does."""

    def start_worker(self, agent: str = "", *, listen: bool = True) -> None:
        """The worker begins; ``listen`` if its jobs run in processes of their own."""

    def stop_worker(self, timeout: float = 2.0) -> None:
        """The worker is over."""

    def job_started(self) -> None:
        """A job begins in this process."""

    def job_ended(self, job_id: str, outcome: str) -> None:
        """A job is over: ``clean`` or ``crashed``."""

    def flush(self, timeout: float = 2.0) -> bool:
        """Push out what waits; each part within ``timeout`` seconds."""

    def host_span_provider(self) -> object | None:
        """A tracer provider to set for LiveKit's own spans, or ``None``."""


class Usage(NamedTuple):
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

    def settle(self) -> None:
        """Bill what is running (streams, connections) up to now. Cheap; call it when idle."""


@dataclass(frozen=True)
class JobFacts:
    """What identifies a job for the claim to serve its room.

    Args:
        host: LiveKit server URL, or a project id.
        room: Room name.
        agent_name: LiveKit's agent name; other agents of the room have claims of their own.
        job_type: ``JT_ROOM``, ``JT_PUBLISHER`` or ``JT_PARTICIPANT``.
        participant: Identity of the participant that a job per participant is for.
        job_id: LiveKit's job id; not part of the key.
        namespace: Keeps deployments that share a registry apart.
        room_sid: LiveKit's id of this life of the room; ``""`` if unknown.
        metadata: What the dispatch says to the agent; part of the key only if the settings say so.
    """

    host: str
    room: str
    agent_name: str
    job_type: str
    participant: str
    job_id: str
    namespace: str = ""
    room_sid: str = ""
    metadata: str = ""


class ClaimEvent(NamedTuple):
    """One step in the life of a claim.

    Args:
        kind: The kind part of a ``job_claim:<kind>`` signature.
        cause: Why, as a word from a closed list, where there is more than one way.
        token: Our fencing token; 0 without one.
        holder_token: The other holder's token; 0 without one.
        waited_seconds: How long we stood by before this step.
    """

    kind: str
    cause: str = ""
    token: int = 0
    holder_token: int = 0
    waited_seconds: float = 0.0


class ClaimListener(Protocol):
    """Hears what becomes of one claim. Called on the event loop that claims; must be quick."""

    def claim_event(self, event: ClaimEvent) -> None:
        """Something happened that people want to know."""

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """One call to the registry: ``acquire``, ``renew`` or ``release``, and how it ended."""

    def claim_lost(self, cause: str) -> None:
        """The policy says: stop serving. At most once per claim."""


class ClaimHandle(Protocol):
    """A claim that is held, or served without proof."""

    @property
    def token(self) -> int:
        """The fencing token; higher than every token granted before for this room; 0 if none."""

    @property
    def fence(self) -> str:
        """``<claim>:<token>``, to compare with another agent's in the room; names nobody."""

    @property
    def verified(self) -> bool:
        """Whether the lease is known to run right now. A local check, no I/O."""

    @property
    def superseded(self) -> bool:
        """Whether another job, or a newer process of this one, is proven to hold it."""

    async def release(self) -> bool:
        """Give the claim back if it still is ours; a second call returns ``False``."""


class ClaimAnswer(NamedTuple):
    """Whether to serve.

    Args:
        handle: Set if the answer is yes.
        cause: Why not: ``holder_fresh``, ``holder_alive``, ``holder_stayed`` or ``unreachable``.
        holder_token: The fencing token of whoever holds it; 0 if unknown.
    """

    handle: ClaimHandle | None
    cause: str = ""
    holder_token: int = 0


class ClaimsPort(Protocol):
    """The right to serve rooms, as the adapters see it."""

    @property
    def backend(self) -> str:
        """The registry's kind; a metric label."""

    def load(self) -> None:
        """Import what the registry needs: blocks up to half a second, raises nothing."""

    async def warm(self) -> None:
        """Connect ahead of the first claim. Raises nothing."""

    async def claim_for_worker(self, job: JobFacts, listener: ClaimListener) -> ClaimAnswer:
        """Decide at once, before a job is accepted: a server waits about three seconds.

        No only if another job's lease was renewed within the last heartbeat; when in doubt yes, and
        the job process probes.
        """

    def claim_for_job(
        self, job: JobFacts, listener: ClaimListener
    ) -> Coroutine[None, None, ClaimAnswer]:
        """Decide with proof, before the user's entrypoint runs; may stand by for one lease.

        On yes the claim is renewed until it is released, and is ``current_claim()`` of the task
        that called, whichever task awaits the answer, and of all tasks started from it.
        """

    async def abandon(self, job: JobFacts) -> None:
        """The job's process is gone: release what it held. Raises nothing."""

    def close(self) -> None:
        """Stop renewing and give back connections, as far as that can be done without waiting."""
