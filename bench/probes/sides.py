"""What may stand in a process beside LiveKit, and how it is begun and ended."""

from __future__ import annotations

import os
import sqlite3
from collections import Counter
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import Any, cast

__all__ = ["SETTLE", "SIDES", "WARM_UP", "Side"]

WARM_UP = 3
"""Turns ahead of those that are measured: whatever is made once per session is not a turn's."""
SETTLE = 100
"""Turns of a session ahead of the one whose CPU is measured: more than CPython 3.11 takes to cache
again what it knew of a patched class (``findings/a-patched-class-is-slow-for-85-runs.sh``).
"""


class Side:
    """Nothing at all; the others say what is different."""

    def begin(self, hub: str = "") -> None:
        """Before a session is made."""

    def attach(self, session: Any, agent: Any) -> None:
        """Before it is started."""

    async def started(self, session: Any) -> None:
        """When it has started."""

    def turn(self) -> None:
        """Before each turn."""

    def second(self) -> None:
        """What a timer of it does after each second of audio."""

    def settled(self) -> None:
        """Ahead of the turns that are measured: other processes finish what those before left."""

    async def end(self) -> None:
        """When it is over."""

    def seen(self) -> float:
        """Requests to the language model since it began, by its own account, once it is over."""
        return 0


class Runguard(Side):
    """This package, as its users have it; with a hub, as in a job process."""

    options: Mapping[str, Any] = {}
    _guard: Any = None

    def begin(self, hub: str = "") -> None:
        import runguard_otel

        guard = runguard_otel.instrument(claims_url="memory://", metrics_port=0, **self.options)
        assert guard.active, "nothing is measured where nothing is patched"
        if hub:
            assert guard._telemetry is not None
            guard._telemetry.use_hub(hub)
            guard._telemetry.job_started()
        self._guard = guard

    def second(self) -> None:
        for settle in self._guard._services.before_flush:
            if type(getattr(settle, "__self__", None)).__name__ == "Streams":
                settle()

    def settled(self) -> None:
        # Turns come here a hundred times as fast as in a call. What a worker reads each second
        # would be full of them, and then each costs a message; the build before sends nothing else.
        counts = getattr(self._guard._telemetry, "_counts", None)
        if counts is not None:
            counts.sink.hurry()

    async def end(self) -> None:
        import runguard_otel

        runguard_otel.uninstrument()


class Exporting(Runguard):
    """The same with spans: one when it begins, as the claim of a job."""

    def begin(self, hub: str = "") -> None:
        super().begin(hub)
        self.event()

    def event(self) -> None:
        from runguard_otel.core.verdict import Outcome, Subject

        recorder = self._guard._services.recorder
        recorder.event("room_reconnect", Outcome.ALLOWED, Subject(room="bench"))


class Eventful(Exporting):
    """The same where each turn comes with an event, which is one span."""

    def turn(self) -> None:
        self.event()


# What other people's packages are compared with, and they. Each is set up as its README says, and
# imported only where it is asked for: ``bench.peers`` has an environment for them.

WORDS = 2
"""Completion tokens of a scripted answer, "Of course." At the price of one dollar for all of them
and nothing for the prompt, a bill in dollars is the number of requests."""
PRICE = f"""\
[[price]]
component = "llm"
provider = "scripted"
model = "scripted-llm"
rates = {{ input_tokens = "0", output_tokens = "1" }}
per = {WORDS}
source = "made up, so that dollars count requests"
date = 2026-11-01
"""


class Priced(Runguard):
    """This package with a price for the model and, in a script, someone who reads the metrics.

    Without them it had less to do than a peer that counts money.
    """

    def begin(self, hub: str = "") -> None:
        from opentelemetry.sdk.metrics import MeterProvider
        from opentelemetry.sdk.metrics.export import InMemoryMetricReader

        prices = Path(os.environ["BENCH_FOLDER"], "prices.toml")
        prices.write_text(PRICE, encoding="utf-8")
        self.options = {"prices": str(prices)}
        if not hub:
            self.options["meter_provider"] = MeterProvider([InMemoryMetricReader()])
        super().begin(hub)

    async def end(self) -> None:
        import runguard_otel

        counted = runguard_otel.instrument().snapshot()["metrics"]
        costs = counted.get("runguard.cost.estimated", ())
        llm = [c["value"] for c in costs if c["attributes"]["component"] == "llm"]
        self._seen: float = sum(llm)
        await super().end()

    def seen(self) -> float:
        return self._seen


class Spans(Side):
    """LiveKit's own spans, batched for an exporter that counts and drops them."""

    def begin(self, hub: str = "") -> None:
        from livekit.agents import telemetry
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExportResult

        names = self._names = Counter[str]()

        class Dropped:
            def export(self, spans: Any) -> SpanExportResult:
                names.update(span.name for span in spans)
                return SpanExportResult.SUCCESS

            def shutdown(self) -> None:
                pass

        self._provider = TracerProvider()
        self._provider.add_span_processor(BatchSpanProcessor(cast("Any", Dropped())))
        telemetry.set_tracer_provider(self._provider)

    async def end(self) -> None:
        from livekit.agents import telemetry
        from opentelemetry import trace

        self._provider.shutdown()
        telemetry.set_tracer_provider(trace.get_tracer_provider())

    def seen(self) -> float:
        return self._names["llm_request"]


class FloeGuard(Side):
    """floe-guard: a budget that is never reached, in memory."""

    def begin(self, hub: str = "") -> None:
        from floe_guard import BudgetGuard, ManualPrice

        price = {"scripted-llm": ManualPrice(0.0, 1 / WORDS)}
        self._guard = BudgetGuard(limit_usd=1e6, price_overrides=price)

    def attach(self, session: Any, agent: Any) -> None:
        from floe_guard.integrations.livekit import LiveKitBudgetGuard

        LiveKitBudgetGuard(self._guard, model="scripted-llm").attach(session, agent)

    def seen(self) -> float:
        return float(self._guard.spent_usd)


class LiveKitEvals(Side):
    """livekit-evals, without recordings, which are made by a server; nothing is sent at the end."""

    def begin(self, hub: str = "") -> None:
        self._handlers: list[Any] = []

    async def started(self, session: Any) -> None:
        from livekit import rtc
        from livekit_evals import create_webhook_handler

        handler = create_webhook_handler(
            room=rtc.Room(), is_deployed_on_lk_cloud=False, disable_recording=True
        )
        self._handlers.append(handler)
        await handler.attach_to_session(session)

    def seen(self) -> float:
        tokens = sum(handler.usage_metrics["llm_output_tokens"] for handler in self._handlers)
        return float(tokens / WORDS)


class VoiceGateway(Side):
    """voicegateway, whose rows go into SQLite at ``VOICEGW_DB_PATH``."""

    def __init__(self) -> None:
        self._rows = self._before = 0

    def begin(self, hub: str = "") -> None:
        self._sessions: list[Any] = []

    def attach(self, session: Any, agent: Any) -> None:
        import voicegateway

        voicegateway.attach(session)
        self._sessions.append(session)

    async def end(self) -> None:
        for session in self._sessions:
            await session._vg_close_task
        with closing(sqlite3.connect(os.environ["VOICEGW_DB_PATH"])) as database:
            rows = database.execute("SELECT count(*) FROM requests WHERE modality = 'llm'")
            self._before, self._rows = self._rows, rows.fetchone()[0]

    def seen(self) -> float:
        return self._rows - self._before


SIDES: dict[str, type[Side]] = {
    "nothing": Side,
    "runguard": Runguard,
    "exporting": Exporting,
    "eventful": Eventful,
    "priced": Priced,
    "spans": Spans,
    "floe-guard": FloeGuard,
    "livekit-evals": LiveKitEvals,
    "voicegateway": VoiceGateway,
}
