"""``instrument()`` called too late: inside a running job, or in a worker's job processes only.

The guards work from then on. What a worker does for its jobs cannot be made up for: the room is not
claimed, and there is no hub that counts. So it is said, once, and the job's telemetry is flushed.
"""

from __future__ import annotations

from runguard_otel.adapters.livekit.facts.job import current_job
from runguard_otel.adapters.livekit.process.lifetime import flush
from runguard_otel.adapters.livekit.process.messages import IN_A_JOB, say_too_late
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield

__all__ = ["adopt"]

WHERE = "instrument"


def adopt(services: Services) -> None:
    """If a job is running right here, end its telemetry with it.

    Args:
        services: Those of the ``instrument()`` that was just called.
    """
    with shield(services.recorder, WHERE):
        ctx, lifecycle = current_job(), services.lifecycle
        if ctx is None or lifecycle is None:
            return
        say_too_late(services, IN_A_JOB)
        lifecycle.job_started(str(ctx.job.id))

        async def runguard_late(reason: str) -> None:
            with shield(services.recorder, WHERE):
                services.settle()
                lifecycle.job_ended(str(ctx.job.id), "clean")
                await flush(services.recorder, lifecycle)

        ctx.add_shutdown_callback(runguard_late)
