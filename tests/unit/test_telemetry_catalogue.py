from __future__ import annotations

import copy
import json
import re

import pytest
from prometheus_client.core import CollectorRegistry

from runguard_otel.core.signatures import SERVER_SIGNATURES, SIGNATURES, GuardName
from runguard_otel.core.verdict import Mode, Outcome, Subject, Trip
from runguard_otel.settings import Settings
from runguard_otel.telemetry import export
from runguard_otel.telemetry.build import build
from runguard_otel.telemetry.catalogue import (
    ATTRIBUTES,
    CLAIM_RESULTS,
    COMPONENTS,
    DISCONNECT_REASONS,
    METRICS,
    SPANS,
    Kind,
    possible_outcomes,
    prometheus_label,
    prometheus_name,
)
from runguard_otel.telemetry.catalogue.baseline import SAVED, as_data, broken_promises
from runguard_otel.telemetry.catalogue.span_attributes import SPAN_ATTRIBUTES
from runguard_otel.telemetry.catalogue.zero import POSSIBLE
from runguard_otel.telemetry.scrape import ScrapeReader, registry
from runguard_otel.telemetry.series import Series, zero_points

pytestmark = pytest.mark.unit

ENFORCE = dict.fromkeys(GuardName, Mode.ENFORCE)
OBSERVE = dict.fromkeys(GuardName, Mode.OBSERVE)


def test_prometheus_names_are_unique_and_legal() -> None:
    names = [prometheus_name(m) for m in METRICS]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"runguard_[a-z_]+", name) for name in names)


def test_no_metric_has_two_attributes_under_one_label() -> None:
    for metric in METRICS.values():
        labels = [prometheus_label(a) for a in metric.attributes]
        assert len(set(labels)) == len(labels), metric.name


def test_units_add_the_suffix_a_collector_would_add() -> None:
    assert {m.unit for m in METRICS.values() if not re.fullmatch(r"\{\w+\}", m.unit)} == {"s"}


def test_briefs_are_sentences() -> None:
    briefs = [m.brief for m in METRICS.values()] + [a.brief for a in ATTRIBUTES.values()]
    assert all(b.endswith(".") for b in [*briefs, *SPANS.values(), *SPAN_ATTRIBUTES.values()])


def test_every_attribute_is_bounded_and_none_is_a_name() -> None:
    for metric in METRICS.values():
        for name in metric.attributes:
            attribute = ATTRIBUTES[name]
            assert attribute.values or attribute.cap or name == "where"
            assert not re.search(r"room|participant|identity|job_id|pii", attribute.key)


def test_span_attributes_that_hold_a_name_say_so() -> None:
    for key in SPAN_ATTRIBUTES:
        if re.search(r"room|participant|with_key", key):
            assert ".pii." in key or key.endswith(".hash")


def test_every_signature_has_outcomes_and_a_zero() -> None:
    rows = METRICS["runguard.signatures"].zero_series()
    assert {r["signature"] for r in rows} == set(SIGNATURES)
    assert all({r["outcome"] for r in rows if r["signature"] == s} == set(possible_outcomes(s))
               for s in SIGNATURES)  # fmt: skip


@pytest.mark.parametrize("metric", POSSIBLE)
def test_what_starts_at_zero_is_in_the_closed_sets(metric: str) -> None:
    for row in POSSIBLE[metric]:
        assert set(row) <= set(METRICS[metric].attributes)
        assert all(value in ATTRIBUTES[name].values for name, value in row.items())


def test_enforce_and_observe_zero_what_they_can_make_and_off_zeroes_nothing() -> None:
    enforce = [labels for name, labels in zero_points(ENFORCE) if name == "runguard.signatures"]
    observe = [labels for name, labels in zero_points(OBSERVE) if name == "runguard.signatures"]
    off = [labels for name, labels in zero_points(dict.fromkeys(GuardName, Mode.OFF))
           if "signature" in labels or "guard" in labels]  # fmt: skip
    assert {o["outcome"] for o in observe} == {"observed"}
    assert {o["signature"] for o in observe} == set(SIGNATURES) - set(SERVER_SIGNATURES)
    assert {"allowed", "suppressed", "refused", "reused"} <= {o["outcome"] for o in enforce}
    assert off == []


def test_a_zero_has_the_labels_its_event_will_have() -> None:
    """Otherwise the event is a series of its own, and its birth is invisible to increase()."""
    series = Series("support")
    zeros = {
        json.dumps(series.labels(name, labels), sort_keys=True)
        for name, labels in zero_points(ENFORCE)
        if name == "runguard.signatures"
    }
    event = {"signature": "room_reconnect", "outcome": "refused", "agent": "support"}
    assert json.dumps(series.labels("runguard.signatures", event), sort_keys=True) in zeros


@pytest.mark.parametrize(
    ("worker", "given", "agent"),
    [("", {}, "unnamed"), ("", {"agent": "desk"}, "desk"), ("desk", {}, "desk"),
     ("desk", {"agent": ""}, "desk")],
)  # fmt: skip
def test_an_agent_always_has_a_name(worker: str, given: dict[str, str], agent: str) -> None:
    """LiveKit's default is an empty one, and two services with a blank would read as one."""
    assert Series(worker).labels("runguard.jobs", given) == {"runguard.agent.name": agent}


# Bounded series


class Worker:
    """A worker's telemetry, read as Prometheus would."""

    def __init__(self) -> None:
        reader = ScrapeReader()
        self.registry: CollectorRegistry = registry(reader.data)
        self.telemetry = build(
            Settings.load(),
            meter_provider=export.meter_provider([reader]),
            agent_name=lambda: "support",
        )
        self.recorder = self.telemetry.recorder
        self.telemetry.start_worker("support", listen=False)

    def series(self) -> int:
        return sum(len(family.samples) for family in self.registry.collect())

    def busy(self, rooms: int) -> None:
        """A bad day: all loops, all usual results, in so many rooms."""
        add, observe = self.recorder.add, self.recorder.observe
        for n in range(rooms):
            who = Subject(room=f"room-{n}", participant=f"caller-{n}", job_id=f"AJ_{n}")
            for signature in SIGNATURES:
                outcome = [o for o in possible_outcomes(signature) if o != "observed"] or [
                    "observed"
                ]
                self.recorder.event(signature, Outcome(outcome[n % len(outcome)]), who)
        for row in METRICS["runguard.trips"].zero_series():
            if row["mode"] == "enforce":
                add("runguard.trips", 1, **row)
        for guard in GuardName:
            observe("runguard.guard.duration", 5e-6, guard=str(guard))
        for operation, result in (
            ("acquire", "acquired"),
            ("acquire", "refused"),
            ("renew", "renewed"),
            ("release", "released"),
        ):
            observe("runguard.job.claim.duration", 0.002, operation=operation, backend="redis",
                    result=result)  # fmt: skip
            add("runguard.job.claims", 1, result=result, backend="redis")
        for reason in DISCONNECT_REASONS[:5]:
            add("runguard.room.disconnects", 1, reason=reason)
        model = {"provider": "deepgram", "model": "nova-3"}
        for kind in ATTRIBUTES["kind"].values:
            add("runguard.stt.results", 1, kind=kind, **model)
        add("runguard.stt.streams", 1, **model)
        add("runguard.stt.audio", 1, **model)
        for outcome_ in ATTRIBUTES["subscription"].values:
            add("runguard.track.subscriptions", 1, subscription=outcome_, source="microphone")
        for component in COMPONENTS:
            add("runguard.cost.estimated", 0.1, component=component, **model)
        add("runguard.cost.unpriced", 1, component="llm", unit="token", **model)


def test_a_worker_has_at_most_200_series_after_10_rooms_and_after_10_000() -> None:
    worker = Worker()
    worker.busy(10)
    after_ten = worker.series()
    worker.busy(10_000)
    assert worker.series() == after_ten <= 200


# Releases


def test_nothing_that_was_released_is_gone_or_different() -> None:
    assert list(broken_promises(json.loads(SAVED.read_text()), as_data())) == []


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda d: d["metrics"].pop("runguard.trips"), "metric runguard.trips is gone"),
        (lambda d: d["metrics"]["runguard.stt.audio"].update(unit="ms"), "unit was 's'"),
        (lambda d: d["metrics"]["runguard.trips"]["attributes"].remove("guard"), "guard is gone"),
        (lambda d: d["attributes"]["signature"]["values"].remove("room_reconnect"), "is gone"),
        (lambda d: d["attributes"]["agent"].update(key="agent"), "key was"),
        (lambda d: d["spans"].remove("runguard.trip"), "span runguard.trip is gone"),
    ],
)
def test_the_check_of_releases_can_fail(change: object, complaint: str) -> None:
    changed = copy.deepcopy(as_data())
    assert callable(change)
    change(changed)
    assert complaint in " ".join(broken_promises(as_data(), changed))


def test_the_closed_sets_the_adapters_use_are_the_catalogues() -> None:
    assert set(CLAIM_RESULTS) < set(ATTRIBUTES["result"].values)
    assert {m.kind for m in METRICS.values()} == set(Kind)


def test_a_span_carries_only_documented_attributes() -> None:
    from runguard_otel.core.verdict import Evidence
    from runguard_otel.telemetry.privacy import Privacy
    from runguard_otel.telemetry.spans import trip_attributes

    subject = Subject("r", "p", "j", "microphone", "s")
    trip = Trip(GuardName.VAD_MISFIRE, "vad_misfire:echo", subject, 5, 120, 5, Mode.ENFORCE,
                "suppress", (Evidence("vad_misfire:echo", 0),), cost={"llm": "1"})  # fmt: skip
    privacy = Privacy("x")
    keys = set(privacy.span_attributes(subject)) | set(trip_attributes(trip, privacy))
    assert keys - {"runguard.cost.llm"} <= set(SPAN_ATTRIBUTES)
