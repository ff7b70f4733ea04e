"""The job's end: nothing waits for the worker, and every loss is counted.

What holds for every job is tested with a shared block and with records alone (``jobs``).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import stat
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runguard_otel.telemetry.hub.aggregator import Account, Aggregator
from runguard_otel.telemetry.hub.block import Block
from runguard_otel.telemetry.hub.client import HubSink
from runguard_otel.telemetry.hub.server import Hub
from tests.kit.process_state import nothing_opened
from tests.kit.sinks import Job, ListSink, eventually

pytestmark = pytest.mark.chain

Jobs = Callable[[str], Job]


def no_memory() -> Block:
    raise OSError("no memfd_create on this system")


def by_records(address: str, max_queue: int = 10_000) -> Job:
    return Job(HubSink(address, no_memory, max_queue))


def by_block(address: str) -> Job:
    return Job(HubSink(address))


@pytest.fixture(params=[by_block, by_records], ids=["block", "records"])
def jobs(request: pytest.FixtureRequest) -> Jobs:
    made: Jobs = request.param
    return made


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[socket.socket]:
    """A hub that is not served."""
    with socket.socket(socket.AF_UNIX) as stuck:
        stuck.bind(str(tmp_path / "hub"))
        stuck.listen()
        yield stuck


def test_the_client_opens_nothing_before_the_first_measurement(hub: Hub, jobs: Jobs) -> None:
    with nothing_opened():
        jobs(hub.address)


def test_a_measurement_arrives_with_its_job(hub: Hub, sink: ListSink, jobs: Jobs) -> None:
    job = jobs(hub.address)
    job.sink.start()
    job.add("runguard.signatures", signature="room_reconnect", agent="a")
    job.add("runguard.guard.duration", 0.003, guard="vad_misfire")
    job.sink.end("clean")
    assert job.sink.flush(2)
    job.sink.close()
    eventually(lambda: sink.total("runguard.jobs.ended", job_outcome="clean") == 1)
    assert sink.total("runguard.signatures", signature="room_reconnect", agent="a") == 1
    assert sink.total("runguard.guard.duration", guard="vad_misfire") == 0.003
    assert sink.total("runguard.jobs") == 0


def test_a_reader_that_never_reads_blocks_no_job_and_every_loss_is_counted(
    listener: socket.socket,
) -> None:
    """10,000 records against a stuck hub: all return at once; sent + dropped is exact later."""
    job = by_records(listener.getsockname(), max_queue=500)
    job.sink.start()
    slowest = 0.0
    for _ in range(10_000):
        begin = time.perf_counter()
        job.many(1)
        slowest = max(slowest, time.perf_counter() - begin)
    job.sink.end("clean")
    assert slowest < 5  # a stuck reader would hold a blocking writer for ever
    connection, _ = listener.accept()
    sink = ListSink()
    aggregator, account = Aggregator(sink.instrument), Account()
    connection.settimeout(5)
    reader = threading.Thread(target=read_all, args=(connection, aggregator, account))
    reader.start()
    assert job.sink.flush(5)
    job.sink.close()
    reader.join(5)
    lost = sink.total("runguard.events.dropped", drop="queue_full")
    assert lost > 0
    assert sink.total("runguard.signatures") + lost == 10_000
    assert account.outcome == "clean"


def test_a_block_loses_nothing_to_a_reader_that_reads_much_later(listener: socket.socket) -> None:
    """Sums need no queue; durations beyond the ring wait as records, and come in any order."""
    job = by_block(listener.getsockname())
    job.sink.start()
    job.many(100_000)
    for n in range(2_000):
        job.add("runguard.guard.duration", float(n), guard="vad_misfire")
    connection, _ = listener.accept()
    sink = ListSink()
    aggregator, account = Aggregator(sink.instrument), Account()
    reader = threading.Thread(target=read_all, args=(connection, aggregator, account))
    reader.start()
    assert job.sink.flush(5)
    job.sink.close()
    reader.join(5)
    aggregator.close(account)
    assert sink.total("runguard.signatures") == 100_000
    durations = sorted(v for name, v, _ in sink.got if name == "runguard.guard.duration")
    assert durations == [float(n) for n in range(2_000)]
    assert sink.total("runguard.events.dropped") == 0


def test_what_waits_is_sent_when_the_reader_wakes_without_another_event(
    listener: socket.socket,
) -> None:
    """The last events of a quiet job must not wait for an event that never comes."""
    job = by_records(listener.getsockname())
    job.sink.start()
    job.many(5_000)
    connection, _ = listener.accept()
    sink = ListSink()
    aggregator = Aggregator(sink.instrument)
    reader = threading.Thread(target=read_all, args=(connection, aggregator, Account()))
    reader.start()
    eventually(lambda: sink.total("runguard.signatures") == 5_000)
    job.sink.close()
    reader.join(5)


def test_a_job_with_very_many_descriptors_waits_without_spinning(listener: socket.socket) -> None:
    job = by_records(listener.getsockname())
    job.sink.start()
    connection = job.sink._connection
    assert connection._socket is not None
    beyond = fcntl.fcntl(connection._socket.fileno(), fcntl.F_DUPFD, 1030)
    connection._socket.close()
    connection._socket = socket.socket(fileno=beyond)
    connection._socket.setblocking(False)
    with contextlib.suppress(BlockingIOError):
        while True:
            connection._socket.send(bytes(4096))
    begun = time.monotonic()
    connection._wait(0.2)
    assert time.monotonic() - begun > 0.15
    job.sink.close()


def test_a_write_the_kernel_takes_in_part_is_continued(listener: socket.socket) -> None:
    job = by_records(listener.getsockname())
    job.sink.start()
    assert job.sink._connection._socket is not None
    job.sink._connection._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    job.many(5_000)
    connection, _ = listener.accept()
    sink = ListSink()
    aggregator = Aggregator(sink.instrument)
    reader = threading.Thread(target=read_all, args=(connection, aggregator, Account()))
    reader.start()
    assert job.sink.flush(10)
    job.sink.close()
    reader.join(5)
    assert sink.total("runguard.signatures") == 5_000
    assert sink.total("runguard.events.dropped") == 0


def test_a_worker_too_busy_to_accept_holds_up_no_job(tmp_path: Path, jobs: Jobs) -> None:
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
    job = jobs(address)
    returned = threading.Event()

    def work() -> None:
        job.sink.start()
        job.many(1)
        returned.set()

    threading.Thread(target=work, daemon=True).start()
    assert returned.wait(5)
    job.sink.close()
    for one in (*crowd, listener):
        one.close()


@pytest.mark.parametrize("late", [False, True])
def test_without_a_hub_counts_wait_and_arrive_when_it_is_there(
    sink: ListSink, jobs: Jobs, late: bool
) -> None:
    """Fails if a hub takes for its own what was put in the place of its socket."""
    made = Hub(sink.instrument)
    made.start()
    aside = made.address + ".aside"
    os.rename(made.address, aside)
    job = jobs(made.address)
    job.sink.start()
    job.many(10)
    if late:  # it has been made anew, and is replaced
        eventually(lambda: Path(made.address).exists())
    os.rename(aside, made.address)
    assert job.sink.flush(10)
    eventually(lambda: sink.total("runguard.signatures") == 10)
    assert sink.total("runguard.jobs") == 1
    job.sink.close()
    made.stop()


def test_a_directory_that_is_removed_is_made_anew_and_nothing_is_lost(
    hub: Hub, sink: ListSink, jobs: Jobs, caplog: pytest.LogCaptureFixture
) -> None:
    """A cleaner of the temporary directory. Mutant: the hub listens where nobody finds it."""
    early, late = jobs(hub.address), jobs(hub.address)
    early.sink.start()
    early.many(10)
    assert early.sink.flush(5)
    shutil.rmtree(Path(hub.address).parent)
    removed = time.monotonic()
    late.sink.start()
    late.many(10)
    early.many(10)
    eventually(lambda: Path(hub.address).exists())
    assert time.monotonic() - removed < 10, "it looks once a second"
    assert stat.S_IMODE(Path(hub.address).parent.stat().st_mode) == 0o700
    assert late.sink.flush(5)
    assert early.sink.flush(5)
    eventually(lambda: sink.total("runguard.signatures") == 30)
    assert (sink.total("runguard.jobs"), sink.total("runguard.events.dropped")) == (2, 0)
    assert [r.getMessage() for r in caplog.records if "made anew" in r.getMessage()] == [
        f"{hub.address} was removed; it is made anew"
    ]
    for job in (early, late):
        job.sink.close()


def test_threads_of_one_job_lose_and_double_nothing(hub: Hub, sink: ListSink, jobs: Jobs) -> None:
    job = jobs(hub.address)
    job.sink.start()
    job.in_threads(8, 500)
    assert job.sink.flush(5)
    job.sink.close()
    eventually(lambda: sink.total("runguard.jobs.ended") == 1)
    assert sink.total("runguard.signatures") == 4000
    assert sink.total("runguard.events.dropped") == 0


def test_a_connection_that_breaks_counts_nothing_twice(
    hub: Hub, sink: ListSink, jobs: Jobs
) -> None:
    """User code closed our descriptor. Fails for a reader that begins a block it knows at zero."""
    job = jobs(hub.address)
    job.sink.start()
    job.many(10)
    job.add("runguard.guards.open", guard="vad_misfire")
    assert job.sink.flush(5)
    eventually(lambda: sink.total("runguard.jobs") == 1)
    if job.sink.shares:  # a record on its way would be lost, and counted as lost
        job.many(10)
    connection = job.sink._connection._socket
    assert connection is not None
    connection.shutdown(socket.SHUT_RDWR)
    eventually(lambda: sink.total("runguard.jobs.ended") == 1)
    wanted = 20 if job.sink.shares else 10
    assert sink.total("runguard.signatures") == wanted
    assert sink.total("runguard.guards.open") == 0
    job.many(5)
    job.sink.hurry()
    assert job.sink.flush(5)
    job.sink.end("clean")
    assert job.sink.flush(5)
    job.sink.close()
    eventually(lambda: sink.total("runguard.jobs.ended") == 2)
    lost = sink.total("runguard.events.dropped", drop="closed")
    assert sink.total("runguard.signatures") + lost == wanted + 5
    assert sink.total("runguard.guards.open") == 0


def test_a_forked_child_does_not_hide_its_parents_death(
    hub: Hub, sink: ListSink, jobs: Jobs
) -> None:
    job = jobs(hub.address)
    job.sink.start()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:  # outlives the job, as a daemon that user code started would
        os.close(write)
        os.read(read, 1)
        os._exit(0)
    job.sink.end("clean")
    assert job.sink.flush(2)
    job.sink.close()
    try:
        eventually(lambda: sink.total("runguard.jobs.ended", job_outcome="clean") == 1)
    finally:
        os.close(write)
        os.close(read)
        os.waitpid(child, 0)


def test_a_forked_child_counts_on_its_own(hub: Hub, sink: ListSink, jobs: Jobs) -> None:
    """Fails if the child writes into its parent's block, or sends on its connection."""
    job = jobs(hub.address)
    job.sink.start()
    job.many(100)
    child = os.fork()
    if child == 0:
        job.many(7)
        job.sink.flush(5)
        os._exit(0)
    os.waitpid(child, 0)
    job.many(100)
    job.sink.end("clean")
    assert job.sink.flush(5)
    job.sink.close()
    eventually(lambda: sink.total("runguard.jobs.ended") == 1)
    eventually(lambda: sink.total("runguard.signatures") == 207)
    assert sink.total("runguard.events.dropped") == 0


def test_what_was_bound_before_a_fork_counts_for_whoever_calls_it(
    hub: Hub, sink: ListSink, jobs: Jobs
) -> None:
    job = jobs(hub.address)
    job.sink.start()
    series = job.counts.series("runguard.signatures", {"signature": "room_reconnect"})
    series.put(100, None)
    child = os.fork()
    if child == 0:
        series.put(7, None)
        os._exit(series.total != 7 or not job.sink.flush(5))
    assert os.waitpid(child, 0)[1] == 0
    series.put(100, None)
    job.sink.end("clean")
    assert job.sink.flush(5)
    job.sink.close()
    eventually(lambda: sink.total("runguard.jobs.ended") == 1)
    eventually(lambda: sink.total("runguard.signatures") == 207)


@pytest.mark.parametrize(
    ("jobs", "threads"),
    [(by_block, 1), (by_block, 3), (by_records, 1)],
    ids=["block", "block, three threads", "records"],
)
def test_a_kill_at_any_instant_loses_nothing_that_was_counted(
    hub: Hub, sink: ListSink, jobs: Jobs, threads: int
) -> None:
    """Each thread says after each count how far it is; the worker has that, or one more.

    A record counts once it is written: what still waits behind a full socket dies with the process.
    """
    kills, at_least, at_most = 12, 0, 0
    for kill in range(kills):
        said, says = os.pipe()
        pid = os.fork()
        if pid == 0:
            _count_until_killed(jobs(hub.address), threads, says)
        os.close(says)
        counted = len(os.read(said, threads))  # it runs
        time.sleep(0.002 * kill)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while data := os.read(said, 65536):
            counted += len(data)
        os.close(said)
        at_least, at_most = at_least + counted, at_most + counted + threads
        eventually(lambda: sink.total("runguard.jobs.ended") == kill + 1)  # noqa: B023 - at once
        assert at_least <= sink.total("runguard.signatures") <= at_most
    assert sink.total("runguard.jobs") == sink.total("runguard.guards.open") == 0
    assert sink.total("runguard.jobs.ended", job_outcome="killed") == kills
    assert sink.total("runguard.events.dropped", drop="malformed") == 0


def _count_until_killed(job: Job, threads: int, says: int) -> None:
    job.sink.start()
    job.add("runguard.guards.open", guard="vad_misfire")

    def work() -> None:
        while True:
            job.many(1)
            if not job.sink.shares:
                job.sink.flush(5)
            os.write(says, b".")

    for _ in range(threads):
        threading.Thread(target=work, daemon=True).start()
    while True:
        time.sleep(60)


def read_all(connection: socket.socket, aggregator: Aggregator, account: Account) -> None:
    while True:
        data, descriptors, _, _ = socket.recv_fds(connection, 65536, 2)
        if not data:
            return
        aggregator.read(account, data, descriptors)
