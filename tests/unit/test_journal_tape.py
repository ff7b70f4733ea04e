"""The tape: every line that found room is read once and whole, whatever happens to its writer."""

from __future__ import annotations

import os
import random
import sys
import threading
import time
from zlib import crc32

import pytest

from runguard_otel.telemetry.hub.reader import Foreign
from runguard_otel.telemetry.hub.tape import (
    READ,
    ROOM,
    SLOT,
    SLOTS,
    SLOTS_AT,
    WRITTEN,
    Tape,
    TapeReader,
)

pytestmark = pytest.mark.unit


def pair() -> tuple[Tape, TapeReader]:
    tape = Tape()
    return tape, TapeReader(os.dup(tape.descriptor))


def test_lines_come_out_as_they_went_in_many_times_around_the_ring() -> None:
    """Fails if a long line loses its last piece, or a head and its rest are not one line."""
    tape, reader = pair()
    rng, written, read = random.Random(1), list[bytes](), list[bytes]()
    while len(written) < 5 * SLOTS:
        for _ in range(rng.randint(1, 200)):
            head, rest = rng.randbytes(rng.randint(1, 60)), rng.randbytes(rng.randint(0, 250))
            if rng.random() < 0.02:
                rest = rng.randbytes(rng.randint(251, 5000))
            tape.write(head, (rest, crc32(rest)))
            written.append(head + rest)
        read += reader.read()
    assert read == written
    assert reader.lost() == 0


@pytest.mark.parametrize("size", [1, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM - 10, 10 * ROOM, 60_000])
def test_a_line_of_any_size_is_one_line(size: int) -> None:
    """Fails if the piece that fills a slot to its end is taken for one that goes on."""
    tape, reader = pair()
    line = random.Random(size).randbytes(size)
    for head in (size, 0 if size > ROOM else 1, min(size, 9)):
        tape.write(line[:head], (line[head:], crc32(line[head:])))
    assert reader.read() == [line] * 3
    assert reader.lost() == 0


def test_many_threads_write_at_once_and_each_line_comes_whole_and_in_its_threads_order() -> None:
    """Fails if two threads can draw the same slot (``n = self._n; self._n = n + 1``)."""
    tape = Tape()
    reader = TapeReader(os.dup(tape.descriptor), clock=lambda: 0.0)  # so nobody is too late
    before, each = sys.getswitchinterval(), 400
    done, read = threading.Event(), list[bytes]()

    def write(number: int) -> None:
        for n in range(each):
            filler = b"x" * (300 if n % 50 == 0 else 20)
            while tape._words[WRITTEN] - tape._words[READ] > SLOTS // 2:
                time.sleep(0)
            tape.write(b"%d %d " % (number, n), (filler, crc32(filler)))

    def look() -> None:
        while not done.is_set():
            read.extend(reader.read())
            time.sleep(0)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(8)]
    looking = threading.Thread(target=look)
    try:
        sys.setswitchinterval(1e-6)
        for thread in (looking, *threads):
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(before)
        done.set()
    looking.join()
    read += reader.read(last=True)
    for number in range(8):
        mine = [int(line.split()[1]) for line in read if line.startswith(b"%d " % number)]
        assert mine == list(range(each))
    assert reader.lost() == 0


def test_a_full_ring_takes_no_line_and_counts_it() -> None:
    """Fails if what was not read yet is written over (``waiting`` not compared with the ring)."""
    hurried: list[int] = []
    tape = Tape(lambda: hurried.append(1))
    reader = TapeReader(os.dup(tape.descriptor))
    many = 2 * SLOTS
    for n in range(many):
        tape.write(b"line %d" % n)
    tape.write(b"x" * 5000)
    kept = reader.read()
    assert kept == [b"line %d" % n for n in range(len(kept))]
    assert SLOTS // 2 < len(kept) < SLOTS
    assert reader.lost() == many + 1 - len(kept)
    assert hurried, "the reader was asked to look long before"
    tape.write(b"room again")
    assert reader.read() == [b"room again"]
    assert reader.lost() == 0


def test_a_line_that_is_not_whole_is_waited_for_and_given_up_when_its_writer_is_gone() -> None:
    """Fails without the checksum: half a line would be read as one."""
    tape, reader = pair()
    tape.write(b"first")
    at = SLOTS_AT + SLOT + 6
    tape.write(b"second")
    torn = tape._map[at : at + 6]
    tape._map[at : at + 6] = b"se\0\0\0\0"
    assert reader.read() == [b"first"]
    tape._map[at : at + 6] = torn
    assert reader.read() == [b"second"]
    tape.write(b"third")
    tape._map[SLOTS_AT + 2 * SLOT + 6] = 0
    assert reader.read(last=True) == []
    assert reader.lost() == 1


def test_a_line_that_never_comes_costs_itself_and_none_behind_it() -> None:
    """Fails if the reader waits for ever for a thread that was ended between two steps."""
    now, tape = [100.0], Tape()
    reader = TapeReader(os.dup(tape.descriptor), clock=lambda: now[0])
    tape.write(b"first")
    tape._next()  # and whoever drew it is gone
    for n in range(3):
        tape.write(b"behind %d" % n)
    assert reader.read() == [b"first"]
    now[0] += 1.9
    assert reader.read() == [], "it may still come"
    now[0] += 0.1
    assert reader.read() == [b"behind 0", b"behind 1", b"behind 2"]
    assert reader.lost() == 1
    tape._next()
    tape.write(b"last")
    assert reader.read(last=True) == [b"last"]
    assert reader.lost() == 1


def test_of_a_long_line_whose_writer_was_killed_in_the_middle_nothing_is_told() -> None:
    """Fails if pieces without an end are handed on as a line."""
    tape, reader = pair()
    tape.write(b"y" * 1000)
    tape._map[SLOTS_AT + 4 * SLOT : SLOTS_AT + 5 * SLOT] = bytes(SLOT)
    tape._words[WRITTEN] = 4
    assert reader.read(last=True) == []
    assert reader.lost() == 1


def test_a_stray_end_costs_no_line_that_is_there() -> None:
    tape, reader = pair()
    tape.write(b"first")
    tape._words[WRITTEN] = 1 << 60
    assert reader.read() == [b"first"]
    assert reader.read(last=True) == []
    assert reader.lost() == 1


def test_a_reader_goes_on_where_the_one_before_it_stopped() -> None:
    tape, reader = pair()
    tape.write(b"first")
    assert reader.read() == [b"first"]
    reader.close()
    tape.write(b"second")
    assert TapeReader(os.dup(tape.descriptor)).read() == [b"second"]


def test_what_is_no_tape_is_refused() -> None:
    descriptor = os.memfd_create("other", os.MFD_ALLOW_SEALING)
    with pytest.raises(Foreign):
        TapeReader(descriptor)
