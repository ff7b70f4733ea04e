"""What becomes of one claim, as telemetry: events, counts, and a trip for a refused duplicate."""

from __future__ import annotations

from collections.abc import Callable

from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.ports import AttributeValue, ClaimEvent, JobFacts
from runguard_otel.core.refusals import REASONS
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Evidence, Mode, Outcome, Subject, Trip, Verdict

__all__ = ["GUARD", "ClaimReports"]

GUARD = GuardName.JOB_DISPATCH


class ClaimReports:
    """A :class:`~runguard_otel.core.ports.ClaimListener`.

    Args:
        services: Settings and recorder.
        job: The job.
        stop: Ends the job when its claim is lost; ``None`` in the worker, where the job process
            takes the claim over and decides for itself.
    """

    def __init__(
        self, services: Services, job: JobFacts, stop: Callable[[str], None] | None
    ) -> None:
        self._services = services
        self._subject = Subject(room=job.room, participant=job.participant, job_id=job.job_id)
        self._stop = stop
        self.on_event: Callable[[], None] | None = None
        """Called after every event; the token may have changed."""
        self._duplicate: Trip | None = None

    def claim_event(self, event: ClaimEvent) -> None:
        """Report one step; a refused duplicate is also a trip."""
        if self._stop is None and (event.kind, event.cause) == ("lost", "handed_off"):
            return  # the job process took it over, and reports that itself
        with shield(self._services.recorder, "job_claim"):
            self._report(event)
            if self.on_event is not None:
                self.on_event()

    def registry_call(self, operation: str, result: str, seconds: float) -> None:
        """``runguard.job.claim.duration``, and the renewals and failures no event tells of."""
        recorder, backend = self._services.recorder, self._backend()
        with shield(recorder, "job_claim"):
            recorder.observe(
                "runguard.job.claim.duration",
                seconds,
                operation=operation,
                backend=backend,
                result=result,
            )
            if result in ("renewed", "error"):
                recorder.add("runguard.job.claims", 1, result=result, backend=backend)

    def claim_lost(self, cause: str) -> None:
        """End the job, in enforce."""
        if self._stop is not None and self._services.enforcing(GUARD):
            with shield(self._services.recorder, "job_claim"):
                self._stop(cause)

    def _backend(self) -> str:
        claims = self._services.claims
        return claims.backend if claims is not None else "memory"

    def _report(self, event: ClaimEvent) -> None:
        recorder, mode = self._services.recorder, self._services.mode(GUARD)
        signature = f"job_claim:{event.kind}"
        refused = event.kind == "refused"
        attributes: dict[str, AttributeValue] = {"runguard.claim.backend": self._backend()}
        if event.cause:
            attributes["runguard.claim.cause"] = event.cause
        if event.token:
            attributes["runguard.claim.token"] = event.token
        if event.holder.token:
            attributes["runguard.claim.holder_token"] = event.holder.token
        if event.waited_seconds:
            attributes["runguard.claim.waited_seconds"] = round(event.waited_seconds, 3)
        outcome = Outcome.of(Verdict.REFUSE if refused else Verdict.ALLOW, mode)
        recorder.event(signature, outcome, self._subject, attributes=attributes)
        if event.kind != "renewed":  # every renewal is counted where it happens
            recorder.add("runguard.job.claims", 1, result=event.kind, backend=self._backend())
        if event.cause in REASONS:
            recorder.add("runguard.job.refusals", 1, refusal=event.cause)
        if refused and event.cause != "registry_closed":
            trip = self._trip(signature, event)
            if self._duplicate is None and self._stop is not None and mode is not Mode.ENFORCE:
                self._duplicate = trip
                recorder.guard_opened(trip.guard, trip.signature, trip.mode)
            recorder.trip(trip)

    def over(self) -> None:
        """The job no longer serves: until now a duplicate that was not refused has lasted."""
        if self._duplicate is not None:
            trip, self._duplicate = self._duplicate, None
            self._services.recorder.guard_closed(trip.guard, trip.signature, trip.mode)

    def _trip(self, signature: str, event: ClaimEvent) -> Trip:
        return Trip(
            guard=GUARD,
            signature=signature,
            subject=self._subject,
            count=1,
            window_seconds=self._services.settings.claims_ttl_seconds,
            threshold=1,
            mode=self._services.mode(GUARD),
            action="refuse_job" if self._services.enforcing(GUARD) else "none",
            evidence=(Evidence(signature, 0.0, event.cause),),
            reason=event.explain(),
        )
