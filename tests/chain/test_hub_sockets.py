"""The worker's end of the socket: who may write, what survives, what is left behind."""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import stat
import time
from pathlib import Path
from typing import Any

import pytest

from runguard_otel.settings import Settings
from runguard_otel.telemetry.build import build
from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.server import Hub
from runguard_otel.telemetry.sink import Put
from tests.kit.sinks import ListSink, eventually
from tests.kit.telemetry import SERIES, send

pytestmark = pytest.mark.chain


def test_the_socket_lies_in_a_directory_only_its_user_may_enter(hub: Hub) -> None:
    directory = Path(hub.address).parent
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_the_hub_leaves_nothing_behind(sink: ListSink) -> None:
    made = Hub(sink.instrument)
    made.start()
    directory = Path(made.address).parent
    made.stop()
    assert not directory.exists()


def test_a_killed_workers_directory_is_removed_by_the_next_and_a_living_ones_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sink: ListSink
) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    living, later = Hub(sink.instrument), Hub(sink.instrument)
    living.start()
    dead, young = tmp_path / "runguard-hub-dead", tmp_path / "runguard-hub-young"
    other = tmp_path / "runguard-redis-x"
    for directory in (dead, young, other):
        directory.mkdir()
        with socket.socket(socket.AF_UNIX) as gone:
            gone.bind(str(directory / "hub"))
    for directory in (dead, other, Path(living.address).parent):
        os.utime(directory, (0, 0))
    later.start()
    assert not dead.exists()
    assert young.exists()
    assert other.exists()
    assert Path(living.address).exists()
    living.stop()
    later.stop()


def test_what_was_written_before_the_end_is_counted(hub: Hub, sink: ListSink) -> None:
    send(hub, wire.encode_started() + wire.encode_count(1, wire.NO_TRACE, SERIES) * 1000)
    eventually(lambda: sink.total("runguard.jobs.ended", job_outcome="killed") == 1)
    assert sink.total("runguard.signatures") == 1000


def test_a_stop_counts_what_has_been_written(sink: ListSink) -> None:
    made = Hub(sink.instrument)
    made.start()
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(made.address)
        connection.sendall(wire.encode_count(1, wire.NO_TRACE, SERIES) * 2000)
        made.stop()
    assert sink.total("runguard.signatures") == 2000


def test_another_user_is_refused_and_counted(sink: ListSink) -> None:
    made = Hub(sink.instrument, peer_uid=lambda _: os.getuid() + 1)
    made.start()
    with contextlib.suppress(ConnectionError):  # it may be hung up on before it has spoken
        send(made, wire.encode_count(1, wire.NO_TRACE, SERIES))
    eventually(lambda: sink.total("runguard.events.dropped", drop="peer") == 1)
    made.stop()
    assert sink.total("runguard.signatures") == 0


def test_garbage_on_one_connection_does_not_disturb_another(hub: Hub, sink: ListSink) -> None:
    send(hub, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 50)
    send(hub, wire.encode_count(1, wire.NO_TRACE, SERIES))
    eventually(lambda: sink.total("runguard.signatures") == 1)
    assert sink.total("runguard.events.dropped") > 0


def test_a_sink_that_raises_does_not_end_the_hub(sink: ListSink) -> None:
    class Raising(ListSink):
        def instrument(self, name: str, attributes: dict[str, str]) -> Put:
            if name == "runguard.jobs":
                raise RuntimeError("broken")
            return sink.instrument(name, attributes)

    made = Hub(Raising().instrument)
    made.start()
    send(made, wire.encode_started())
    send(made, wire.encode_count(1, wire.NO_TRACE, SERIES))
    eventually(lambda: sink.total("runguard.signatures") == 1)
    made.stop()


def test_a_worker_without_a_place_for_a_socket_still_counts(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class NoBind(socket.socket):
        def bind(self, address: Any) -> None:
            raise OSError("AF_UNIX path too long")

    monkeypatch.setattr("runguard_otel.telemetry.hub.server.socket.socket", NoBind)
    telemetry = build(Settings.load(metrics_port=0))
    telemetry.start_worker()
    monkeypatch.undo()
    assert telemetry.hub_address is None
    assert "no telemetry hub" in caplog.text
    telemetry.recorder.add("runguard.room.connects", 1, connect="ok")
    assert telemetry.snapshot()["metrics"]["runguard.room.connects"][0]["value"] == 1
    telemetry.shutdown()


def test_a_worker_without_descriptors_waits_for_one_instead_of_asking_without_end(
    hub: Hub, sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    attempts = []
    accept = hub._accept

    def used_up(listener: socket.socket) -> None:
        attempts.append(time.monotonic())
        if len(attempts) == 1:
            raise OSError(errno.EMFILE, "Too many open files")
        accept(listener)

    monkeypatch.setattr(hub, "_accept", used_up)
    send(hub, wire.encode_count(1, wire.NO_TRACE, SERIES))
    eventually(lambda: sink.total("runguard.signatures") == 1)
    assert len(attempts) == 2
    assert attempts[1] - attempts[0] > 0.5


def test_what_lasts_in_a_job_reaches_the_watcher_until_its_end(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A worker prices what is open: from its beginning, at each look, and after a SIGKILL."""
    worker, job = (build(Settings.load(metrics_port=0)) for _ in range(2))
    told: list[tuple[str, float, float | None]] = []
    worker.watch_periods(
        lambda periods, now: told.extend((p.kind, p.seconds(now), p.ended) for p in periods)
    )
    worker.start_worker()
    assert worker.hub_address is not None
    assert job.begin_period("stream", {}) is None  # no worker sees it
    job.use_hub(worker.hub_address)
    job.job_started()
    began = time.monotonic() - 100
    stream = job.begin_period("stream", {"provider": "deepgram"}, began)
    connection = job.begin_period("connection", {})
    assert stream is not None
    assert connection is not None
    eventually(lambda: {"stream", "connection"} <= {kind for kind, _, _ in told})
    stream.end(began + 102)
    eventually(lambda: ("stream", 102.0, began + 102) in told)
    job.shutdown()  # the connection is not ended: it is as after a kill
    eventually(lambda: any(kind == "connection" and ended for kind, _, ended in told))
    ends = sorted(kind for kind, _, ended in told if ended)
    assert [kind for kind in ends if kind in ("connection", "stream")] == ["connection", "stream"]
    worker.shutdown()
