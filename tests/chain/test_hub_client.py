"""The job's end of the socket: nothing waits for the worker, and every loss is counted."""

from __future__ import annotations

import contextlib
import fcntl
import os
import socket
import threading
import time
from pathlib import Path

import pytest

from runguard_otel.telemetry.client import HubSink
from runguard_otel.telemetry.hub import Hub
from runguard_otel.telemetry.ledger import Account, Ledger
from tests.kit.sinks import ListSink, eventually

pytestmark = pytest.mark.chain


def test_the_client_opens_nothing_before_the_first_measurement(hub: Hub) -> None:
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    HubSink(hub.address)
    assert (len(os.listdir("/proc/self/fd")), threading.active_count()) == before


def test_a_measurement_arrives_with_its_job(hub: Hub, sink: ListSink) -> None:
    client = HubSink(hub.address)
    client.start()
    client.add("runguard.signatures", 1, {"signature": "room_reconnect", "agent": "a"}, None)
    client.end("clean")
    assert client.flush(2)
    client.close()
    eventually(lambda: sink.total("runguard.jobs.ended", job_outcome="clean") == 1)
    assert sink.total("runguard.signatures", signature="room_reconnect", agent="a") == 1
    assert sink.total("runguard.jobs") == 0


def test_a_reader_that_never_reads_blocks_nobody_and_every_loss_is_counted(
    tmp_path: Path,
) -> None:
    """10,000 events against a stuck hub: all return at once; sent + dropped is exact later."""
    address = str(tmp_path / "hub")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    client = HubSink(address, max_queue=500)
    client.start()
    slowest = 0.0
    for _ in range(10_000):
        begin = time.perf_counter()
        client.add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)
        slowest = max(slowest, time.perf_counter() - begin)
    client.end("clean")
    assert slowest < 0.25  # a stuck reader would hold a blocking writer for ever
    connection, _ = listener.accept()
    sink = ListSink()
    ledger, account = Ledger(sink), Account()
    connection.settimeout(5)
    reader = threading.Thread(target=_read_all, args=(connection, ledger, account))
    reader.start()
    assert client.flush(5)
    client.close()
    reader.join(5)
    lost = sink.total("runguard.events.dropped", drop="queue_full")
    assert lost > 0
    assert sink.total("runguard.signatures") + lost == 10_000
    assert account.outcome == "clean"
    listener.close()


def test_what_waits_is_sent_when_the_reader_wakes_without_another_event(tmp_path: Path) -> None:
    """The last events of a quiet job must not wait for an event that never comes."""
    address = str(tmp_path / "hub")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    client = HubSink(address)
    client.start()
    for _ in range(5_000):
        client.add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)
    connection, _ = listener.accept()
    sink = ListSink()
    reader = threading.Thread(target=_read_all, args=(connection, Ledger(sink), Account()))
    reader.start()
    eventually(lambda: sink.total("runguard.signatures") == 5_000)
    client.close()
    reader.join(5)
    listener.close()


def test_a_job_with_very_many_descriptors_waits_without_spinning(tmp_path: Path) -> None:
    address = str(tmp_path / "hub")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(address)
        listener.listen()
        client = HubSink(address)
        client.start()
        assert client._socket is not None
        beyond = fcntl.fcntl(client._socket.fileno(), fcntl.F_DUPFD, 1030)
        client._socket.close()
        client._socket = socket.socket(fileno=beyond)
        client._socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                client._socket.send(bytes(4096))
        begun = time.monotonic()
        client._wait(0.2)
        assert time.monotonic() - begun > 0.15
        client.close()


def test_a_write_the_kernel_takes_in_part_is_continued(tmp_path: Path) -> None:
    address = str(tmp_path / "hub")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen()
    client = HubSink(address)
    client.start()
    assert client._socket is not None
    client._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    for _ in range(5_000):
        client.add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)
    connection, _ = listener.accept()
    sink = ListSink()
    reader = threading.Thread(target=_read_all, args=(connection, Ledger(sink), Account()))
    reader.start()
    assert client.flush(10)
    client.close()
    reader.join(5)
    assert sink.total("runguard.signatures") == 5_000
    assert sink.total("runguard.events.dropped") == 0
    listener.close()


def test_a_worker_too_busy_to_accept_holds_up_no_job(tmp_path: Path) -> None:
    address = str(tmp_path / "hub")
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(0)
    crowd = []
    with contextlib.suppress(BlockingIOError):
        while True:
            crowd.append(socket.socket(socket.AF_UNIX))
            crowd[-1].setblocking(False)
            crowd[-1].connect(address)
    client = HubSink(address)
    returned = threading.Event()

    def job() -> None:
        client.start()
        client.add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)
        returned.set()

    threading.Thread(target=job, daemon=True).start()
    assert returned.wait(5)
    client.close()
    for one in (*crowd, listener):
        one.close()


def _read_all(connection: socket.socket, ledger: Ledger, account: Account) -> None:
    while data := connection.recv(65536):
        ledger.read(account, data)


def test_without_a_hub_counts_wait_and_arrive_when_it_is_there(
    sink: ListSink, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = Hub(sink)
    made.start()
    aside = made.address + ".aside"
    os.rename(made.address, aside)
    client = HubSink(made.address)
    client.start()
    for _ in range(10):
        client.add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)
    os.rename(aside, made.address)
    assert client.flush(5)
    eventually(lambda: sink.total("runguard.signatures") == 10)
    assert sink.total("runguard.jobs") == 1
    client.close()
    made.stop()


def test_threads_of_one_job_lose_and_double_nothing(hub: Hub, sink: ListSink) -> None:
    client = HubSink(hub.address)
    client.start()

    def work() -> None:
        for _ in range(500):
            client.add("runguard.signatures", 1, {"signature": "room_reconnect"}, None)

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert client.flush(5)
    client.close()
    eventually(lambda: sink.total("runguard.jobs.ended") == 1)
    assert sink.total("runguard.signatures") == 4000
    assert sink.total("runguard.events.dropped") == 0


def test_a_forked_child_does_not_hide_its_parents_death(hub: Hub, sink: ListSink) -> None:
    client = HubSink(hub.address)
    client.start()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # outlives the job, as a daemon that user code started would
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    client.end("clean")
    assert client.flush(2)
    client.close()
    try:
        eventually(lambda: sink.total("runguard.jobs.ended", job_outcome="clean") == 1)
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)
