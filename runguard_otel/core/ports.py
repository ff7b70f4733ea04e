"""The Protocols through which adapters, claims and telemetry meet without importing each other."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from runguard_otel.core.refusals import explain_refusal
from runguard_otel.core.verdict import Outcome, Subject, Trip

__all__ = [
    "AttributeValue",
    "ClaimAnswer",
    "ClaimEvent",
    "ClaimHandle",
    "ClaimHolder",
    "ClaimListener",
    "ClaimsPort",
    "Count",
    "JobFacts",
    "Lasting",
    "Lifecycle",
    "Recorder",
    "Serves",
    "Usage",
    "UsagePort",
    "Use",
]

AttributeValue = str | bool | int | float

Count = Callable[[float], None]
"""``count(amount)``: one measurement of one series, see :meth:`Recorder.bind`."""


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

    def guard_opened(self, guard: str, signature: str = "", mode: str = "") -> None:
        """``runguard.guards.open`` goes up.

        Args:
            guard: Which guard.
            signature: What it tripped on.
            mode: Whether it acts: the mode of its trip.
        """

    def guard_closed(self, guard: str, signature: str = "", mode: str = "") -> None:
        """``runguard.guards.open`` goes down; with the arguments of its opening."""

    def add(self, metric: str, amount: float = 1, /, **attributes: str) -> None:
        """Add to a counter or up-down counter of the catalogue.

        Args:
            metric: The catalogue name, for example ``runguard.stt.results``.
            amount: How much; negative for up-down counters only.
            **attributes: Short attribute names of the catalogue row (``kind=...``), closed values.
        """

    def observe(self, metric: str, value: float, /, **attributes: str) -> None:
        """Record one value of a histogram of the catalogue, in its unit (seconds)."""

    def bind(self, metric: str, /, **attributes: str) -> Count:
        """A function that does what :meth:`add` or :meth:`observe` would, for one series.

        For who measures in every turn: the series is looked for once, not each time.

        Args:
            metric: The catalogue name.
            **attributes: As of :meth:`add`.
        """

    def internal_error(self, where: str) -> None:
        """Our own code failed while serving the host: count it and log it once, with traceback.

        Call it inside the ``except`` block. ``where`` is from a closed set (the patch's name).
        """


class Lasting(Protocol):
    """Something that lasts, as a job shows it to its worker."""

    def end(self) -> None:
        """It is over."""


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

    @property
    def destinations(self) -> tuple[str, ...]:
        """Where metrics and spans go, in words for people."""

    def start_worker(self, agent: str = "", *, listen: bool = True, expected: bool = True) -> None:
        """The worker begins.

        Args:
            agent: Its agent name.
            listen: Whether its jobs run in processes of their own.
            expected: Whether it is to be missed when it falls silent; not in development.
        """

    def worker_ending(self) -> None:
        """The worker was asked to end, and lets its jobs finish."""

    def stop_worker(self, timeout: float = 2.0) -> None:
        """The worker is over."""

    def job_started(self, job_id: str = "") -> None:
        """A job begins in this process."""

    def job_ended(self, job_id: str, outcome: str) -> None:
        """A job is over, with a value of the ``job_outcome`` attribute."""

    def begin_period(self, kind: str, attributes: Mapping[str, str]) -> Lasting | None:
        """Something of this job began that its worker is to see while it lasts."""

    def end_process(self, outcome: str) -> None:
        """Have the worker end this process, whose job counts as ``outcome``; no worker, no end."""

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


Use = Callable[[Mapping[str, float], str], None]
"""``use(quantities, turn)``: one request to one model, see :meth:`UsagePort.bind`."""


class UsagePort(Protocol):
    """Where adapters report what was used, so that it can be priced.

    No method raises, blocks or does I/O. Keys are any hashable that stays the same from opening to
    closing, such as ``id(stream)``; reporting an unknown or already closed key is a no-op.
    """

    def used(self, usage: Usage) -> None:
        """One request was answered, or given up: whatever its provider will bill."""

    def bind(self, component: str, provider: str, model: str) -> Use:
        """A function that does what :meth:`used` would, for one model in the calling session.

        For who asks the same model in every turn. Arguments as of :class:`Usage`; not for streams,
        and what runs is not billed by the way.
        """

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
        participant_sid: That participant's sid. Who hangs up and calls back is another one, whom
            the job that winds up the first call must not keep out; ``""`` if unknown.
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
    participant_sid: str = ""


class ClaimHolder(NamedTuple):
    """Who holds a claim, as far as its registry knows. For people; no decision reads it.

    Args:
        token: Its fencing token; 0 if unknown.
        job_id: LiveKit's id of its job.
        worker: The name of its worker, as ``runguard-otel claims list`` shows it.
        held_seconds: For how long it has held the claim; 0 if unknown.
    """

    token: int = 0
    job_id: str = ""
    worker: str = ""
    held_seconds: float = 0.0


Serves = Callable[[ClaimHolder, Callable[[], None]], "bool | None"]
"""Whether a holder serves at this moment, as somebody knows who asks no registry: the server, say.

``True`` and ``False`` are knowledge; ``None`` is not. Called often; must be quick. Whoever asked is
called back, on the event loop, as soon as the answer may be another one.
"""


class ClaimEvent(NamedTuple):
    """One step in the life of a claim.

    Args:
        kind: The kind part of a ``job_claim:<kind>`` signature.
        cause: Why, as a word from a closed list, where there is more than one way.
        token: Our fencing token; 0 without one.
        holder: The other holder, where there is one.
        waited_seconds: How long we stood by before this step.
    """

    kind: str
    cause: str = ""
    token: int = 0
    holder: ClaimHolder = ClaimHolder()
    waited_seconds: float = 0.0

    def explain(self) -> str:
        """Why a job is refused or loses its claim, and what to do; ``""`` for any other step."""
        who = self.holder
        return explain_refusal(
            self.cause, job_id=who.job_id, worker=who.worker, held_seconds=who.held_seconds
        )


class ClaimListener(Protocol):
    """Hears what becomes of one claim. Called on the event loop that claims; must be quick."""

    def claim_event(self, event: ClaimEvent) -> None:
        """Something happened that people want to know."""

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """One call to the registry: ``acquire``, ``renew`` or ``release``, and how it ended."""

    def claim_lost(self, cause: str) -> None:
        """The policy says: stop serving. At most once per claim."""


class ClaimHandle(Protocol):
    """A claim that is held, or served without proof.

    It protects a conversation, not a process. From the first sign of the conversation's end it is
    *ending*: whoever asks for it then gets it at once. Its holder may finish what it is doing.
    """

    @property
    def token(self) -> int:
        """The fencing token; higher than every token granted before for this room; 0 if none."""

    @property
    def fence(self) -> str:
        """``<claim>:<token>``, to compare with another agent's in the room; holds no names."""

    @property
    def verified(self) -> bool:
        """Whether the lease is known to run right now. A local check, no I/O."""

    @property
    def superseded(self) -> bool:
        """Whether another job, or a newer process of this one, is proven to hold it."""

    @property
    def ending(self) -> bool:
        """Whether it was last marked as ending."""

    def mark_ending(self) -> None:
        """The conversation ends: let the next job in at once.

        Returns without I/O; the registry hears of it right after, and again until it has. Call it
        at every sign of the end: a claim that is ending, or over, stays as it is. Any thread.
        """

    def mark_serving(self) -> bool:
        """Another conversation begins in the same job: the claim is its own again.

        Returns without I/O, as :meth:`mark_ending`. Where another job turns out to have taken the
        claim meanwhile, the listener's ``claim_lost`` says so.

        Returns:
            False if the claim is known to be over: it was released, or has passed on to another
            job. Then claim again, or leave the room.
        """

    async def release(self) -> bool:
        """Give the claim back if it still is ours; a second call returns ``False``."""


class ClaimAnswer(NamedTuple):
    """Whether to serve.

    Args:
        handle: Set if the answer is yes.
        cause: Why not: ``holder_renewed`` or ``registry_closed``; ``core.refusals`` has the words.
        holder: Who holds it instead.
    """

    handle: ClaimHandle | None
    cause: str = ""
    holder: ClaimHolder = ClaimHolder()


class ClaimsPort(Protocol):
    """The right to serve rooms, as the adapters see it."""

    @property
    def backend(self) -> str:
        """The registry's kind; a metric label."""

    def load(self) -> None:
        """Import what the registry needs: blocks up to half a second, raises nothing."""

    async def warm(self) -> None:
        """Connect ahead of the first claim. Raises nothing."""

    def key(self, job: JobFacts) -> str:
        """The claim a job needs; two jobs with one key compete for one conversation."""

    async def claim_for_worker(self, job: JobFacts, listener: ClaimListener) -> ClaimAnswer:
        """Reserve the claim for a job process to come, at once: a server waits three seconds.

        What the registry says is never a reason to refuse here: of a holder it knows that it lived
        a while ago. Yes therefore, with or without a claim, and the job process stands by. No only
        where the registry cannot be asked and the settings are to refuse then.

        The reservation lasts for one lease and is not renewed: the job process takes it over.
        """

    def claim_for_job(
        self, job: JobFacts, listener: ClaimListener, serves: Serves | None = None
    ) -> Coroutine[None, None, ClaimAnswer]:
        """Decide with proof, before the user's entrypoint runs.

        Stands by while another job holds the claim, until that one ends, releases it or lets its
        lease run out (yes), or renews it after the time that LiveKit may take to notice that its
        caller is gone (no). A witness makes both quicker: a holder that is said to serve is left to
        it at its next renewal, and one that is said to serve no one loses the claim at once. Cancel
        the wait when the job is asked to end meanwhile.

        On yes the claim is renewed until it is released, and is ``current_claim()`` of the task
        that called, whichever task awaits the answer, and of all tasks started from it.
        """

    async def abandon(self, job: JobFacts) -> None:
        """The job's process is gone: release what it held. Raises nothing."""

    def close(self) -> None:
        """Stop renewing and give back connections, as far as that can be done without waiting."""
