"""The thread that tells: rarely enough, again after a failure, and never in the way."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Mapping
from typing import Any

import pytest

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.notify import Address, Notifier
from runguard_otel.notify.sending import NotSent
from runguard_otel.telemetry.worker import WorkerTelemetry
from tests.kit.pagerduty import KEY, PagerDuty
from tests.kit.sinks import eventually

pytestmark = pytest.mark.unit

TRIP = {"guard": "room_reconnect", "signature": "room_reconnect", "mode": "observe",
        "action": "none", "agent": "front"}  # fmt: skip
OPEN = {name: TRIP[name] for name in ("guard", "signature", "mode", "agent")}
MINUTE = 60.0


class Desk:
    """A notifier with a clock of ours and nobody at the other end."""

    def __init__(self, address: Address | None = None) -> None:
        self.now = 0.0
        self.sent: list[dict[str, Any]] = []
        self.fails: NotSent | None = None
        self.attempts = 0
        self.notifier = Notifier(
            address or Address.of("https://example.com/verysecretpath", "t0ken"),
            send=self._send,
            clock=lambda: self.now,
        )

    def _send(self, url: str, body: bytes, headers: Mapping[str, str]) -> None:
        self.attempts += 1
        if self.fails is not None:
            raise self.fails
        self.sent.append(json.loads(body))

    def trip(self, **changes: str) -> None:
        self.notifier.counted("runguard.trips", {**TRIP, **changes}, 1)

    def open(self, change: float, **changes: str) -> None:
        self.notifier.counted("runguard.guards.open", {**OPEN, **changes}, change)

    def run(self, minutes: float, every: float = MINUTE) -> None:
        end = self.now + minutes * MINUTE
        while self.now < end:
            self.notifier.tick()
            self.now += every


def test_two_hundred_trips_of_one_loop_are_one_notice_and_its_end() -> None:
    desk = Desk()
    for _ in range(200):
        desk.trip()
        desk.open(1)
        desk.run(0.1, every=6)
    desk.open(-200)
    desk.run(15)
    assert [n["status"] for n in desk.sent] == ["firing", "resolved"]
    assert desk.sent[0]["key"] == desk.sent[1]["key"]
    assert desk.sent[1]["trips"] == 200


def test_a_guard_that_acts_is_not_a_loop_that_goes_on() -> None:
    """Mutant: an open guard in enforce taken for an unstopped loop says "nothing stops it"."""
    desk = Desk()
    desk.trip(mode="enforce", action="refuse_connect")
    desk.open(1, mode="enforce")
    desk.run(25)
    (notice,) = desk.sent
    assert notice["summary"].endswith("and the guard stops it each time.")
    desk.run(20)
    assert [n["status"] for n in desk.sent] == ["firing", "resolved"]


def test_fifty_loops_at_once_are_ten_notices_and_one_a_minute() -> None:
    """Mutant: without the limit all fifty go out at once."""
    desk = Desk()
    for agent in range(50):
        desk.trip(agent=f"a{agent}")
        desk.open(1, agent=f"a{agent}")
    desk.notifier.tick()
    assert len(desk.sent) == 10
    desk.run(5)
    assert len(desk.sent) == 14
    desk.run(60)
    assert len({n["agent"] for n in desk.sent}) == len(desk.sent) == 50


def test_a_receiver_that_is_away_is_asked_less_and_less_and_told_when_it_is_back(
    caplog: pytest.LogCaptureFixture,
) -> None:
    desk = Desk()
    desk.fails = NotSent("it does not answer in time", again=True)
    desk.trip()
    desk.open(1)
    with caplog.at_level(logging.INFO, "runguard_otel"):
        desk.run(30, every=1)
        assert 10 <= desk.attempts <= 14  # 2, 4, 8 ... 256, then every 300 s
        desk.fails = None
        desk.run(6, every=1)
    assert [n["status"] for n in desk.sent] == ["firing"]
    assert [r.levelname for r in caplog.records] == ["WARNING", "INFO"], "once per outage"
    assert "verysecretpath" not in caplog.text
    assert "t0ken" not in caplog.text


def test_what_is_refused_is_not_sent_again(caplog: pytest.LogCaptureFixture) -> None:
    desk = Desk()
    desk.fails = NotSent("its answer was 401", again=False)
    desk.trip()
    desk.open(1)
    with caplog.at_level(logging.WARNING, "runguard_otel"):
        desk.run(60)
    assert desk.attempts == 1
    assert "the webhook at example.com does not take" in caplog.text


def test_counting_never_waits_for_a_receiver_and_the_end_of_the_worker_does_so_shortly() -> None:
    """Mutant: sent from ``counted``, or a ``stop`` that joins for ever, this hangs."""
    asked, let_go = threading.Event(), threading.Event()

    def hang(*_: object) -> None:
        asked.set()
        let_go.wait(30)

    notifier = Notifier(Address.of("https://example.com"), send=hang)
    notifier.start("desk", "eu")
    notifier.counted("runguard.trips", TRIP, 1)
    assert asked.wait(5)
    for _ in range(10_000):
        notifier.counted("runguard.trips", TRIP, 1)
    assert len(notifier._heard) == 1, "sums, not a queue"
    notifier.stop(0.05)
    let_go.set()
    thread = notifier._thread
    assert thread is not None
    assert thread.daemon
    thread.join(5)
    assert not thread.is_alive()


def test_a_worker_tells_pagerduty_and_takes_it_back_when_it_ends(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Through the instruments, as jobs count; nothing of it is exported."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "front-desk")
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "k8s.cluster.name=eu")
    pagerduty = PagerDuty()
    try:
        notifier = Notifier(Address.of(f"pagerduty+{pagerduty.url}", KEY))
        modes = dict.fromkeys(GuardName, Mode.OBSERVE)
        worker = WorkerTelemetry(modes, "front", metrics_port=0, listen=False, watcher=notifier)
        without_agent = {k: v for k, v in TRIP.items() if k != "agent"}
        worker.sink.instrument("runguard.trips", without_agent)(1, None)
        worker.sink.instrument("runguard.guards.open", OPEN)(1, None)
        eventually(lambda: bool(pagerduty.of("trigger", "front-desk")), 10)
        worker.stop()
        eventually(lambda: bool(pagerduty.of("resolve", "front-desk")), 10)
    finally:
        pagerduty.stop()
    assert pagerduty.refused == []
    trigger, resolve = pagerduty.events
    assert trigger.incident == resolve.incident
    payload = trigger.body["payload"]
    assert payload["summary"] == (
        "A room is joined again and again on agent front, service front-desk, cluster eu, and "
        "nothing stops it."
    )
    assert (payload["severity"], payload["class"]) == ("critical", "room_reconnect")
    assert {type(v) for v in payload["custom_details"].values()} == {str}


def test_slack_gets_no_markup_from_an_agents_name() -> None:
    desk = Desk(Address.of("slack+https://example.com/hook"))
    desk.trip(agent="<!channel> & co")
    desk.open(1, agent="<!channel> & co")
    desk.run(1)
    (message,) = desk.sent
    assert set(message) == {"text"}
    assert "&lt;!channel&gt; &amp; co" in message["text"]


def test_a_fault_of_our_own_is_said_once_and_once_that_it_is_over(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: said at each tick, a night fills the log with 30,000 tracebacks."""
    desk = Desk()
    desk.trip()

    def broken(*_: object) -> None:
        raise RuntimeError("a fault of ours")

    with caplog.at_level(logging.INFO, "runguard_otel"), monkeypatch.context() as fault:
        fault.setattr(desk.notifier, "_send", broken)
        for _ in range(50):
            desk.notifier.safely(desk.notifier.tick)
            desk.now += 1
    with caplog.at_level(logging.INFO, "runguard_otel"):
        for _ in range(3):
            desk.notifier.safely(desk.notifier.tick)
    said = [r.getMessage() for r in caplog.records]
    assert said == [
        "notifications failed; calls are not affected, trying again", "notifications work again"
    ]  # fmt: skip
    assert len(desk.sent) == 1
