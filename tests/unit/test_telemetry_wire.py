from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.telemetry.hub import wire
from runguard_otel.telemetry.hub.aggregator import Account, Aggregator
from tests.kit.sinks import ListSink

pytestmark = pytest.mark.unit

SERIES = wire.encode_series("runguard.signatures", {"signature": "room_reconnect"})
UP = wire.encode_series("runguard.guards.open", {"guard": "vad_misfire"})


@pytest.fixture
def sink() -> ListSink:
    return ListSink()


# The wire


@given(
    st.lists(st.tuples(st.floats(allow_nan=False), st.binary(min_size=25, max_size=25))),
    st.integers(1, 50),
)
def test_records_survive_any_chunking(counts: list[tuple[float, bytes]], chunk: int) -> None:
    stream = b"".join(wire.encode_count(v, t, SERIES) for v, t in counts)
    rest, got = b"", []
    for at in range(0, len(stream), chunk):
        rest += stream[at : at + chunk]
        whole = wire.complete(rest)
        got += list(wire.decode(rest[:whole]))
        rest = rest[whole:]
    assert rest == b""
    assert got == [wire.Count(v, t, SERIES) for v, t in counts]


@given(st.integers(1, 120), st.integers(1, 60))
def test_an_aggregator_counts_the_same_however_the_stream_is_cut(events: int, chunk: int) -> None:
    sink = ListSink()
    aggregator, account = Aggregator(sink.instrument), Account()
    stream = wire.encode_started() + wire.encode_count(1, wire.NO_TRACE, SERIES) * events
    for at in range(0, len(stream), chunk):
        aggregator.read(account, stream[at : at + chunk])
    assert sink.total("runguard.signatures") == events
    assert sink.total("runguard.events.dropped") == 0


@given(st.binary(max_size=2000))
def test_foreign_bytes_are_dropped_and_never_raise(data: bytes) -> None:
    sink = ListSink()
    aggregator, account = Aggregator(sink.instrument), Account()
    aggregator.read(account, data)
    aggregator.close(account)
    wanted = {"runguard.events.dropped", "runguard.jobs", "runguard.jobs.ended"}
    assert {name for name, _, _ in sink.got} <= wanted


@pytest.mark.parametrize(
    ("series", "value"),
    [
        (b"runguard.no.such", 1.0),
        (b"\xff\xfe", 1.0),
        (b"runguard.worker.heartbeat", 1.0),
        (SERIES, float("nan")),
        (SERIES, float("inf")),
        (SERIES, -1.0),
    ],
)
def test_a_record_that_means_nothing_is_counted_as_malformed(
    sink: ListSink, series: bytes, value: float
) -> None:
    Aggregator(sink.instrument).read(Account(), wire.encode_count(value, wire.NO_TRACE, series))
    assert sink.got == [("runguard.events.dropped", 1, {"drop": "malformed"})]


def test_a_later_version_is_stepped_over(sink: ListSink) -> None:
    later = struct.pack(">HBB", 6, wire.VERSION + 1, 9) + b"abcd"
    Aggregator(sink.instrument).read(Account(), later + wire.encode_count(1, wire.NO_TRACE, SERIES))
    assert sink.total("runguard.events.dropped", drop="version") == 1
    assert sink.total("runguard.signatures", signature="room_reconnect") == 1


def test_a_series_of_any_text_comes_back_as_it_was() -> None:
    given_ = {"model": "a=b", "provider": "ünï\x1fx"}
    assert wire.parse_series(wire.encode_series("runguard.stt.audio", given_)) == (
        "runguard.stt.audio",
        {"model": "a=b", "provider": "ünï x"},
    )


# The aggregator


def test_a_dead_jobs_gauges_go_back_to_zero(sink: ListSink) -> None:
    aggregator, account = Aggregator(sink.instrument), Account()
    up = wire.encode_count(1, wire.NO_TRACE, UP)
    aggregator.read(account, wire.encode_started() + up + up)
    assert sink.total("runguard.guards.open") == 2
    assert sink.total("runguard.jobs") == 1
    aggregator.close(account)
    assert sink.total("runguard.guards.open") == 0
    assert sink.total("runguard.jobs") == 0
    assert sink.total("runguard.jobs.ended", job_outcome="killed") == 1


@pytest.mark.parametrize(
    ("said", "counted"), [("clean", "clean"), ("refused", "refused"), ("nonsense", "crashed")]
)
def test_a_goodbye_says_how_the_job_ended(sink: ListSink, said: str, counted: str) -> None:
    aggregator, account = Aggregator(sink.instrument), Account()
    aggregator.read(account, wire.encode_started() + wire.encode_ended(said))
    aggregator.close(account)
    aggregator.close(account)
    assert sink.total("runguard.jobs.ended") == 1
    assert sink.total("runguard.jobs.ended", job_outcome=counted) == 1


def test_one_read_is_one_sdk_call_per_series_with_the_latest_trace(sink: ListSink) -> None:
    traces = [bytes([i]) * 25 for i in (1, 2)]
    data = b"".join(wire.encode_count(1, traces[i % 2], SERIES) for i in range(100))
    Aggregator(sink.instrument).read(Account(), data)
    assert [value for _, value, _ in sink.got] == [100]
    assert sink.traces == [int.from_bytes(traces[1][:16], "big")]
