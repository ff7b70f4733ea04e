"""VAD misfires: final STT results that were not speech of the user, one after the other.

Streaming recognisers and voice detectors fire on noise, on talk in the background and on the
agent's own voice. Each such result may wake the LLM, and its answer makes the next one. A few are
normal; a row of them with nothing genuine between is a storm.
"""

from __future__ import annotations

import time
from collections import deque
from dataclasses import dataclass
from enum import Enum

from runguard_otel.core.breaker import Breaker
from runguard_otel.core.guards.confidence import ConfidenceScales
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Clock, Decision, Evidence, Mode, Subject, Trip, Verdict
from runguard_otel.errors import LoopDetectedError

__all__ = [
    "PASS",
    "MisfireDecision",
    "MisfireGuard",
    "MisfireKind",
    "MisfirePolicy",
    "VADMisfireGuard",
]


class MisfireKind(str, Enum):
    """What a final result was; the ``kind`` label of ``runguard.stt.results``."""

    GENUINE = "genuine"
    EMPTY = "empty"
    LOW_CONFIDENCE = "low_confidence"
    ECHO = "echo"
    DUPLICATE = "duplicate"

    def __str__(self) -> str:
        return self.value


_SIGNATURE = {
    MisfireKind.GENUINE: "",
    MisfireKind.EMPTY: "vad_misfire:empty_transcript",
    MisfireKind.LOW_CONFIDENCE: "vad_misfire:low_confidence",
    MisfireKind.ECHO: "vad_misfire:echo",
    MisfireKind.DUPLICATE: "vad_misfire:duplicate_transcript",
}


@dataclass(frozen=True)
class MisfirePolicy:
    """When misfires are a storm.

    Args:
        limit: Misfires in a row that trip, >= 1.
        window_seconds: All of them must lie within this; as much quiet re-arms an open guard.
        min_confidence: A known confidence below this is a misfire, 0 to 1.
        floor_confidence: A known confidence below this is never let through, 0 to 1.
        clean_turns: Genuine turns after an echo storm until the user is heard all the time again.

    Raises:
        ValueError: If an argument is out of range.
    """

    limit: int = 5
    window_seconds: float = 120.0
    min_confidence: float = 0.6
    floor_confidence: float = 0.3
    clean_turns: int = 3

    def __post_init__(self) -> None:
        if self.limit < 1:
            raise ValueError(f"limit must be >= 1, got {self.limit!r}")
        if not self.window_seconds > 0:
            raise ValueError(f"window_seconds must be > 0, got {self.window_seconds!r}")
        for name in ("min_confidence", "floor_confidence"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {value!r}")


@dataclass(frozen=True)
class MisfireDecision(Decision):
    """A decision on one final result.

    Args:
        kind: What the result was.
        closed: Whether this event closed the guard.
    """

    kind: MisfireKind = MisfireKind.GENUINE
    closed: bool = False


PASS = MisfireDecision(Verdict.ALLOW)
"""What is said of genuine speech while nothing is open."""
_PASS_AND_CLOSE = MisfireDecision(Verdict.ALLOW, closed=True)


class MisfireGuard:
    """Classifies final results of one session, and finds the storm.

    Before the trip a blank result or one below the floor is suppressed; of the other misfires since
    the last genuine result the first unsure one and the first echo pass (a soft-spoken user, or one
    who repeats the agent's words, is worth a turn). After it everything but genuine speech is
    suppressed, until one genuine result, or a quiet window, closes the guard. An unsure result that
    joins words let through always passes, for half a turn is another turn; they count once.

    Args:
        policy: The thresholds.
        subject: Whose session it is; the trip carries it.
        mode: What a trip says about acting; the verdicts do not depend on it.
    """

    __slots__ = (
        "_breaker",
        "_mode",
        "_mute",
        "_passed",
        "_policy",
        "_row",
        "_subject",
        "_tripped",
        "_turn",
    )

    def __init__(
        self,
        policy: MisfirePolicy | None = None,
        *,
        subject: Subject | None = None,
        mode: Mode = Mode.ENFORCE,
    ) -> None:
        self._policy = policy or MisfirePolicy()
        self._subject = subject or Subject()
        self._mode = mode
        self._row: deque[tuple[float, MisfireKind]] = deque(maxlen=self._policy.limit)
        self._passed: set[MisfireKind] = set()
        self._breaker = Breaker(quiet_seconds=self._policy.window_seconds)
        self._mute = Breaker(proofs=self._policy.clean_turns)
        self._turn = False  # whether this turn has already proven that the user is heard
        self._tripped = False  # until then, nothing was ever open

    @property
    def in_a_row(self) -> int:
        """Misfires since the last genuine result (it saturates at the limit)."""
        return len(self._row)

    def is_open(self, now: float) -> bool:
        """Whether everything but genuine speech is suppressed at ``now`` (monotonic seconds)."""
        return self._breaker.is_open(now)

    def mutes(self, now: float) -> bool:
        """Whether the user should not be heard while the agent speaks (after an echo storm)."""
        return self._mute.is_open(now)

    def next_turn(self) -> None:
        """The agent spoke: genuine speech from here on is another clean turn."""
        self._turn = False

    def on_final(
        self,
        text: str,
        confidence: float | None,
        *,
        echo: bool = False,
        joins: bool = False,
        duplicate: bool = False,
        now: float,
    ) -> MisfireDecision:
        """Judge one final result.

        Args:
            text: What was recognised.
            confidence: 0 to 1, or ``None`` when it is not known.
            echo: Whether it is the agent's own voice.
            joins: Whether the turn it belongs to already holds words that were let through.
            duplicate: Whether the result let through last is reported once more. That is no noise:
                it is suppressed, and the row of misfires stays as it is. (A misfire that passed is
                followed by a misfire, as ever.)
            now: Monotonic seconds.
        """
        kind = self.classify(text, confidence, echo=echo)
        if duplicate and (kind is MisfireKind.GENUINE or not self._row):
            kind = MisfireKind.DUPLICATE
            is_open = self._breaker.is_open(now)
            return MisfireDecision(Verdict.SUPPRESS, _SIGNATURE[kind], open=is_open, kind=kind)
        if kind is MisfireKind.GENUINE:
            return self._genuine(now)
        return self._misfire(kind, confidence, joins and kind is MisfireKind.LOW_CONFIDENCE, now)

    def classify(self, text: str, confidence: float | None, *, echo: bool) -> MisfireKind:
        """What a final result is, without counting it."""
        if not text or text.isspace():
            return MisfireKind.EMPTY
        if echo:
            return MisfireKind.ECHO
        if confidence is not None and confidence < self._policy.min_confidence:
            return MisfireKind.LOW_CONFIDENCE
        return MisfireKind.GENUINE

    def reset(self) -> None:
        """Forget everything, as for a new session."""
        self._row.clear()
        self._passed.clear()
        self._breaker.close()
        self._mute.close()
        self._turn = False

    def _genuine(self, now: float) -> MisfireDecision:
        if self._row:
            self._row.clear()
            self._passed.clear()
        first, self._turn = not self._turn, True
        if not self._tripped:
            return PASS
        if first:
            self._mute.healthy(now)
        return _PASS_AND_CLOSE if self._breaker.healthy(now) else PASS

    def _misfire(
        self, kind: MisfireKind, confidence: float | None, joins: bool, now: float
    ) -> MisfireDecision:
        policy, row = self._policy, self._row
        was_open = self._breaker.is_open(now)
        if row and now - row[-1][0] >= policy.window_seconds:
            row.clear()  # so long ago that it is another story
            self._passed.clear()
        if counts := not (joins and any(seen is kind for _, seen in row)):
            row.append((now, kind))
        signature = _SIGNATURE[kind]
        verdict = Verdict.ALLOW if joins else Verdict.SUPPRESS
        if kind is MisfireKind.ECHO:
            self._mute.bad(now)
        if was_open:
            self._breaker.bad(now)
            return MisfireDecision(verdict, signature, open=True, kind=kind)
        if counts and len(row) == policy.limit and now - row[0][0] <= policy.window_seconds:
            trip = self._trip(signature, now)
            return MisfireDecision(verdict, signature, trip, open=True, kind=kind)
        verdict = Verdict.ALLOW if joins else self._one_may_pass(kind, confidence)
        return MisfireDecision(verdict, signature, kind=kind)

    def _one_may_pass(self, kind: MisfireKind, confidence: float | None) -> Verdict:
        below = confidence is not None and confidence < self._policy.floor_confidence
        if kind is MisfireKind.EMPTY or below or kind in self._passed:
            return Verdict.SUPPRESS
        self._passed.add(kind)
        return Verdict.ALLOW

    def _trip(self, signature: str, now: float) -> Trip:
        policy, row = self._policy, self._row
        self._tripped = True
        self._breaker.open(now)
        echoes = sum(kind is MisfireKind.ECHO for _, kind in row)
        mute = 2 * echoes > len(row)  # an echo storm: most of the row is the agent's own voice
        if mute:
            self._mute.open(now)
        action = "mute_while_speaking" if mute else "suppress"
        return Trip(
            guard=GuardName.VAD_MISFIRE,
            signature=signature,
            subject=self._subject,
            count=len(row),
            window_seconds=policy.window_seconds,
            threshold=policy.limit,
            mode=self._mode,
            action=action if self._mode is Mode.ENFORCE else "none",
            evidence=tuple(Evidence(_SIGNATURE[kind], now - at) for at, kind in row),
        )


class VADMisfireGuard:
    """The guard alone, for any pipeline: feed it final results, keep what it says false to.

    Args:
        consecutive_empty_limit: Misfires in a row that trip, >= 1.
        min_confidence: A known confidence below this is a misfire, 0 to 1.
        floor_confidence: A known confidence below this is never let through, 0 to 1.
        window_seconds: All misfires of a trip lie within this; as much quiet re-arms the guard.
        clock: Monotonic seconds; for tests.

    Raises:
        ValueError: If an argument is out of range.
    """

    def __init__(
        self,
        consecutive_empty_limit: int = 5,
        min_confidence: float = 0.6,
        *,
        floor_confidence: float = 0.3,
        window_seconds: float = 120.0,
        clock: Clock = time.monotonic,
    ) -> None:
        policy = MisfirePolicy(
            limit=consecutive_empty_limit,
            window_seconds=window_seconds,
            min_confidence=min_confidence,
            floor_confidence=floor_confidence,
        )
        self._guard = MisfireGuard(policy)
        self._scales = ConfidenceScales()
        self._clock = clock

    def on_stt_result(self, transcript: str, confidence: float | None) -> bool:
        """Judge one final result.

        Args:
            transcript: What was recognised; blank when nothing was.
            confidence: 0 to 1. ``None`` is unknown, and so is 0.0 (many recognisers never report
                any, or not always). One value outside of that proves another scale, and from then
                on results are judged by their words alone.

        Returns:
            Whether the result should reach the language model.

        Raises:
            LoopDetectedError: Once per storm, on the result that makes it one. Later misfires
                return ``False``; the first genuine result ends the storm.
        """
        known = self._scales.judge(None, confidence)
        decision = self._guard.on_final(transcript, known, now=self._clock())
        if decision.trip is not None:
            raise LoopDetectedError(decision.trip.explain(), trip=decision.trip)
        return decision.verdict is Verdict.ALLOW

    def reset(self) -> None:
        """Forget every result, as for a new call."""
        self._guard.reset()
