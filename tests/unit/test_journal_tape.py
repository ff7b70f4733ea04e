"""The tape: every line that found room is read once and whole, whatever happens to its writer."""

from __future__ import annotations

import os
import random

import pytest

from runguard_otel.telemetry.hub.reader import Foreign
from runguard_otel.telemetry.hub.tape import RING, RING_AT, WRITTEN, Tape, TapeReader

pytestmark = pytest.mark.unit


def pair() -> tuple[Tape, TapeReader]:
    tape = Tape()
    return tape, TapeReader(os.dup(tape.descriptor))


def test_lines_come_out_as_they_went_in_many_times_around_the_ring() -> None:
    """Fails if a line across the end of the ring is cut (``over`` one byte off)."""
    tape, reader = pair()
    rng, written, read = random.Random(1), list[bytes](), list[bytes]()
    while sum(map(len, written)) < 5 * RING:
        for _ in range(rng.randint(1, 200)):
            line = rng.randbytes(rng.randint(1, 900))
            tape.write(line)
            written.append(line)
        read += reader.read()
    assert read == written
    assert reader.lost() == 0


def test_a_full_ring_takes_no_line_and_counts_it() -> None:
    """Fails if what was not read yet is written over (``waiting`` not compared with the ring)."""
    hurried: list[int] = []
    tape = Tape(lambda: hurried.append(1))
    reader = TapeReader(os.dup(tape.descriptor))
    line = b"x" * 1000
    for _ in range(RING // 1000):
        tape.write(line)
    kept = reader.read()
    assert len(kept) == RING // 1008 and set(kept) == {line}
    assert reader.lost() == RING // 1000 - len(kept) > 0
    assert hurried, "the reader was asked to look long before"
    tape.write(b"room again")
    assert reader.read() == [b"room again"]
    assert reader.lost() == 0


def test_a_line_that_is_not_whole_is_waited_for_and_given_up_when_its_writer_is_gone() -> None:
    """Fails without the checksum: half a line would be read as one."""
    tape, reader = pair()
    tape.write(b"first")
    at = RING_AT + 13 + 8
    tape.write(b"second")
    torn = tape._map[at : at + 6]
    tape._map[at : at + 6] = b"se\0\0\0\0"
    assert reader.read() == [b"first"]
    tape._map[at : at + 6] = torn
    assert reader.read() == [b"second"]
    tape.write(b"third")
    tape._map[RING_AT + 27 + 8] = 0
    assert reader.read(last=True) == []
    assert reader.lost() == 1


def test_a_stray_end_costs_what_was_in_the_ring_and_no_more() -> None:
    tape, reader = pair()
    tape.write(b"first")
    tape._words[WRITTEN] = 1 << 60
    assert reader.read() == []
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
