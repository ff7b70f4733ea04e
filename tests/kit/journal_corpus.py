"""A pytest plugin: every scenario of the suites is kept as a history and judged again.

``python -m pytest -p tests.kit.journal_corpus tests/livekit`` plays all that must not fire and all
storms on the real host as ever; at the end of each test the histories of its services are replayed
with unchanged settings, and every verdict has to be the live one, event for event.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from runguard_otel.adapters.livekit import services
from runguard_otel.journal.book import Book
from runguard_otel.journal.reading import find
from runguard_otel.journal.record import Tail, expand
from runguard_otel.journal.replay import replay
from runguard_otel.journal.taped import TapedPolicies
from runguard_otel.settings import Settings

events = 0
histories = 0


class _Kept(TapedPolicies):
    """Policies of one ``Services`` that keep their history in memory."""

    made: list[_Kept]

    def __init__(self, settings: Settings) -> None:
        self.lines: list[bytes] = []
        self.lost = 0

        def lose(number: int) -> None:
            self.lost += number

        def take(head: bytes, tail: Tail) -> None:
            self.lines.append(expand(head + tail[0]))

        book = Book(settings, lambda: take, lambda: "", lambda: "", lose)
        super().__init__(settings, book)
        self.made.append(self)


@pytest.fixture(autouse=True)
def judged_again(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Keeps what policies are told in a test, and judges it again when the test is over."""
    global events, histories
    _Kept.made = []
    monkeypatch.setattr(services, "Policies", _Kept)
    yield
    for kept in _Kept.made:
        if not kept.lines:
            continue
        path: Path = tmp_path_factory.mktemp("corpus") / "20260101T000000Z-corpus.1.jsonl"
        path.write_bytes(b"\n".join(kept.lines) + b"\n")
        result = replay(find([path])[0])
        events += result.events
        histories += 1
        assert result.differences == []
        assert result.same and result.exact and not kept.lost


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How much was judged again."""
    terminalreporter.write_line(f"judged again: {events} inputs of {histories} histories")
