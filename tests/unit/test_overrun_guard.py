"""The guard of sessions that go on too long, alone: no LiveKit, no telemetry, an injected clock.

First what must never trip, then what must, each named with the change it fails for.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.core.guards.overrun import (
    AGENT_ALONE,
    CLOSE_HUNG,
    DURATION,
    SILENT_CALLER,
    JobPolicy,
    Limits,
)
from runguard_otel.core.verdict import Evidence, Mode, Subject, Trip

pytestmark = pytest.mark.unit

ROOM, OTHER, SESSION, SECOND, STREAM = "room", "other", "session", "second", "stream"


class Job:
    """One job on a clock that jumps from one moment at which something is due to the next."""

    def __init__(
        self,
        limits: Limits | None = None,
        mode: Mode = Mode.OBSERVE,
        listening: Callable[[], bool] = lambda: True,
        *,
        script: bool = False,
    ) -> None:
        self.now = 1000.0
        self.late = 0.0
        """Seconds by which whoever checks comes too late."""
        self.trips: list[tuple[str, float]] = []
        self.said: list[Trip] = []
        self.policy = JobPolicy(
            limits or Limits(),
            Subject(room="support-42", job_id="AJ_1"),
            mode,
            listening=listening,
            clock=lambda: self.now,
        )
        if not script:
            self.policy.job_started()

    def wait(self, seconds: float) -> None:
        until = self.now + seconds
        while self.policy.due + self.late <= until:
            self.now = max(self.now, self.policy.due + self.late)
            for trip in self.policy.check():
                self.trips.append((trip.signature, self.now - 1000.0))
                self.said.append(trip)
        self.now = until

    def talk(self, minutes: int, every: float = 20) -> None:
        for _ in range(int(minutes * 60 / every)):
            self.policy.active()
            self.wait(every)


@pytest.fixture
def job() -> Job:
    return Job()


# -- must not trip ------------------------------------------------------------------------------


def test_outbound_dialling_has_two_minutes_until_somebody_answers(job: Job) -> None:
    job.policy.callers(ROOM, 0)
    job.wait(119)
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(5)
    assert job.trips == []


def test_a_caller_on_hold_is_there(job: Job) -> None:
    """Her microphone is closed while she waits: silence is what a hold is."""
    listening = [True]
    job = Job(listening=lambda: listening[0])
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(1)
    listening[0] = False
    job.wait(1800)
    listening[0] = True
    job.talk(1)
    assert job.trips == []


def test_a_warm_transfer_is_talked_over_in_a_second_room(job: Job) -> None:
    """Fails if one room without a caller is enough: the job is connected to both."""
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(1)
    for _ in range(3):  # one busy colleague after the other, 25 s each
        job.policy.callers(OTHER, 0)
        job.talk(1)
        job.policy.left(OTHER)
    assert job.trips == []


def test_a_transfer_to_a_room_of_its_own_leaves_its_caller_there_for_less_than_the_limit(
    job: Job,
) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(1)
    job.policy.callers(ROOM, 0)
    job.wait(29)
    job.policy.callers(ROOM, 1)
    job.talk(1)
    assert job.trips == []


def test_a_room_that_was_opened_ahead_of_time(job: Job) -> None:
    job = Job(Limits(unmet_seconds=900))
    job.policy.callers(ROOM, 0)
    job.wait(890)
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(10)
    assert job.trips == []


@pytest.mark.parametrize("who", ["push-to-talk", "listen-only", "avatar", "text chat"])
def test_a_session_that_does_not_listen_is_never_called_silent(who: str) -> None:
    """A muted microphone, no model that would answer, no recogniser: the adapter says which."""
    job = Job(listening=lambda: False)
    job.policy.callers(ROOM, 1)
    job.policy.session_started(who)
    job.wait(3 * 3600)
    assert job.trips == []


def test_a_translator_whose_listener_never_speaks(job: Job) -> None:
    """Fails if silence is measured per session: the speaker is heard by another one."""
    job.policy.callers(ROOM, 2)
    job.policy.session_started("of the speaker")
    job.policy.session_started("of the listener")
    job.talk(30, every=60)
    assert job.trips == []


def test_an_agent_without_a_session_may_listen_for_hours(job: Job) -> None:
    """A recorder, a transcriber of its own, an avatar worker: callers are there, nobody answers."""
    job.policy.callers(ROOM, 3)
    job.policy.stream_opened(STREAM)
    job.wait(5 * 3600)
    assert job.trips == []


def test_a_drain_lets_twenty_calls_talk_on() -> None:
    jobs = [Job() for _ in range(20)]
    for job in jobs:
        job.policy.callers(ROOM, 1)
        job.policy.session_started(SESSION)
        job.talk(5)
        job.policy.callers(ROOM, 0)
        job.policy.ending("asked")
        job.wait(10)
        job.policy.session_closed(SESSION)
        job.policy.left(ROOM)
        job.policy.job_ended()
        job.wait(600)
    assert [job.trips for job in jobs] == [[]] * 20


def test_a_farewell_and_a_summary_may_take_their_time(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.policy.session_closing(SESSION)
    job.wait(29)
    job.policy.session_closed(SESSION)
    job.policy.left(ROOM)
    job.wait(29)
    job.policy.job_ended()
    job.wait(600)
    assert job.trips == []


def test_a_second_session_goes_on_when_the_first_has_closed(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    for session in (SESSION, SECOND):
        job.policy.session_started(session)
    job.policy.session_closing(SESSION)
    job.policy.session_closed(SESSION)
    job.talk(10)
    assert job.trips == []


def test_a_script_that_goes_from_room_to_room_has_not_hung() -> None:
    job = Job(script=True)
    for room in (ROOM, OTHER):
        job.policy.callers(room, 1)
        job.policy.stream_opened(STREAM)
        job.wait(60)
        job.policy.left(room)
        job.wait(20)
    job.policy.stream_closed(STREAM)
    job.wait(600)
    assert job.trips == []


def test_a_script_with_streams_and_no_room_is_nobodys_session() -> None:
    job = Job(script=True)
    job.policy.stream_opened(STREAM)
    job.wait(86_400)
    assert job.trips == []


def test_a_session_of_any_length_by_default(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(600, every=300)
    assert job.trips == []


@pytest.mark.parametrize("rule", ["left_seconds", "unmet_seconds", "silent_seconds"])
def test_a_rule_that_is_off_says_nothing(rule: str) -> None:
    job = Job(Limits(**{rule: 0}))
    if rule != "unmet_seconds":
        job.policy.callers(ROOM, 1)
    if rule == "silent_seconds":
        job.policy.session_started(SESSION)
    else:
        job.policy.callers(ROOM, 0)
    job.wait(86_400)
    assert job.trips == []


# -- must trip ----------------------------------------------------------------------------------


def test_nobody_ever_comes(job: Job) -> None:
    """Fails if an agent that never met a caller gets the time of one that was left."""
    job.policy.callers(ROOM, 0)
    assert job.policy.alone, "from its first second"
    job.wait(86_400)
    assert job.trips == [(AGENT_ALONE, 120)]
    (trip,) = job.said
    assert trip.evidence[0].detail == "nobody_came"
    assert trip.evidence[0].seconds_before == 120
    assert "no caller ever came" in trip.explain()


def test_alone_after_the_last_caller_left(job: Job) -> None:
    job.policy.callers(ROOM, 2)
    job.wait(100)
    job.policy.callers(ROOM, 1)
    job.wait(100)
    assert not job.policy.alone
    job.policy.callers(ROOM, 0)
    job.wait(600)
    assert job.trips == [(AGENT_ALONE, 230)]
    assert job.said[0].evidence[0].detail == "caller_left"


def test_alone_once_per_time_alone(job: Job) -> None:
    """Fails if a return of the caller does not re-arm, or if the same time trips twice."""
    for _ in range(2):
        job.policy.callers(ROOM, 1)
        assert job.policy.open == {}
        job.policy.callers(ROOM, 0)
        job.wait(100)
        assert job.policy.open == {AGENT_ALONE: 1}
    assert [signature for signature, _ in job.trips] == [AGENT_ALONE] * 2


def test_a_caller_who_says_nothing(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(1)
    job.wait(3600)
    assert job.trips == [(SILENT_CALLER, 640)]
    job.policy.active()
    assert job.policy.open == {}


def test_somebody_who_comes_is_a_sign_of_life_and_somebody_who_goes_is_none(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.wait(500)
    job.policy.callers(ROOM, 2)
    job.wait(500)
    job.policy.callers(ROOM, 1)
    job.wait(3600)
    assert job.trips == [(SILENT_CALLER, 1100)]


def test_noise_is_no_sign_of_life(job: Job) -> None:
    """What is reported as active is genuine: noise, echoes and blanks are not reported at all."""
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.wait(601)
    assert job.trips == [(SILENT_CALLER, 600)]


def test_silence_counts_while_it_is_listened_to_and_from_then_on(job: Job) -> None:
    listening = [False]
    job = Job(listening=lambda: listening[0])
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.wait(601)
    listening[0] = True
    job.wait(3600)
    assert job.trips == [(SILENT_CALLER, 1200)]


@pytest.mark.parametrize("cause", ["asked", "room_gone"])
def test_a_job_that_was_to_end_and_is_still_there(job: Job, cause: str) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.wait(50)
    if cause == "asked":
        job.policy.ending(cause)
    else:
        job.policy.left(ROOM)
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 80)]
    assert job.said[0].evidence[0].detail == cause
    assert "a session" in job.said[0].reason


def test_a_session_that_does_not_close_although_its_job_goes_on(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.policy.session_closing(SESSION)
    job.wait(600)
    assert (CLOSE_HUNG, 30) in job.trips


@pytest.mark.parametrize("later", [0, 0.01, 20])
@pytest.mark.parametrize("cause", ["asked", "room_gone"])
def test_a_session_that_closes_with_its_job_hangs_once(job: Job, cause: str, later: float) -> None:
    """One end that hangs is one trip, and one page: fails if its session is timed beside it."""
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    if cause == "asked":
        job.policy.ending(cause)
    else:
        job.policy.left(ROOM)
    job.wait(later)
    job.policy.session_closing(SESSION)
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 30)]
    assert job.policy.open == {CLOSE_HUNG: 1}
    job.policy.session_closed(SESSION)
    job.policy.job_ended()
    assert job.policy.open == {}


@pytest.mark.parametrize("later", [0.01, 1, 20, 29.99])
@pytest.mark.parametrize("cause", ["asked", "room_gone"])
def test_a_session_that_closed_first_hangs_once_with_its_job(
    job: Job, cause: str, later: float
) -> None:
    """It is due first and says so; it lasts until the job is over, and not until it has closed."""
    job.policy.callers(ROOM, 1)
    for session in (SESSION, SECOND):
        job.policy.session_started(session)
        job.policy.session_closing(session)
    job.wait(later)
    if cause == "asked":
        job.policy.ending(cause)
    else:
        job.policy.left(ROOM)
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 30)]
    assert job.said[0].evidence[0] == Evidence(CLOSE_HUNG, 30, "session_closing")
    assert job.policy.to_end
    for session in (SESSION, SECOND):
        job.policy.session_closed(session)
    assert job.policy.open == {CLOSE_HUNG: 1}
    job.policy.job_ended()
    assert job.policy.open == {}


def test_a_job_has_its_own_time_when_its_session_closed_in_time(job: Job) -> None:
    """Fails if the end of a job is timed from the beginning of its session's."""
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.policy.session_closing(SESSION)
    job.wait(25)
    job.policy.ending("asked")
    job.wait(1)
    job.policy.session_closed(SESSION)
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 55)]
    assert job.said[0].evidence[0].detail == "asked"


def test_a_job_that_is_asked_to_end_after_its_session_hung_may_hang_too(job: Job) -> None:
    """What was said is said; that the job, too, does not end is news, and its outcome."""
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.policy.session_closing(SESSION)
    job.wait(30)
    assert not job.policy.to_end
    job.policy.ending("asked")
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 30), (CLOSE_HUNG, 60)]
    assert job.policy.open == {CLOSE_HUNG: 2}


def test_a_script_in_its_next_room_still_waits_for_the_session_of_the_last() -> None:
    """Joining ends the job's own end; fails if the session's is forgotten with it."""
    job = Job(script=True)
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.policy.left(ROOM)
    job.policy.session_closing(SESSION)
    job.wait(10)
    job.policy.callers(OTHER, 1)
    job.wait(600)
    assert (CLOSE_HUNG, 30) in job.trips


def test_a_shutdown_callback_that_never_returns(job: Job) -> None:
    """Nothing is held any more but the process: fails if only connections count."""
    job.policy.callers(ROOM, 1)
    job.policy.callers(ROOM, 0)
    job.policy.ending("asked")
    job.policy.left(ROOM)
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 30)]
    assert "its process still runs" in job.said[0].reason


def test_a_script_that_left_its_room_and_keeps_the_stream() -> None:
    job = Job(script=True)
    job.policy.callers(ROOM, 1)
    job.policy.stream_opened(STREAM)
    job.policy.left(ROOM)
    job.wait(600)
    assert job.trips == [(CLOSE_HUNG, 30)]
    assert "an STT stream" in job.said[0].reason
    job.policy.stream_closed(STREAM)
    assert job.policy.open == {}


def test_a_stream_that_was_opened_after_the_room_was_gone_is_other_work() -> None:
    job = Job(script=True)
    job.policy.callers(ROOM, 1)
    job.policy.stream_opened(STREAM)
    job.policy.left(ROOM)
    job.wait(1)
    job.policy.stream_opened("of a recording")
    job.policy.stream_closed(STREAM)
    job.wait(600)
    assert job.trips == []


def test_an_agent_that_ends_is_not_called_alone(job: Job) -> None:
    job.policy.callers(ROOM, 0)
    job.policy.ending("asked")
    assert not job.policy.alone
    job.policy.job_ended()
    job.wait(3600)
    assert job.trips == []


def test_a_session_that_is_older_than_it_may_get() -> None:
    job = Job(Limits(session_seconds=1800))
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.talk(60)
    assert job.trips == [(DURATION, 1800)]


def test_how_long_a_session_was_and_how_long_it_said_nothing(job: Job) -> None:
    """Fails if the other session's end resets what this one has measured."""
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.wait(40)
    job.policy.active()
    job.policy.session_started(SECOND)
    job.wait(15)
    assert job.policy.session_closed(SECOND) == (15, 15)
    job.wait(10)
    job.policy.active()
    assert job.policy.session_closed(SESSION) == (65, 40)
    assert job.policy.session_closed(SESSION) is None


def test_enforce_says_what_it_does() -> None:
    job = Job(mode=Mode.ENFORCE)
    job.policy.callers(ROOM, 0)
    job.wait(121)
    assert (job.said[0].mode, job.said[0].action) == (Mode.ENFORCE, "shutdown_job")
    assert "action: shutdown_job" in job.said[0].explain()


def test_nothing_is_due_in_a_job_that_does_nothing(job: Job) -> None:
    assert job.policy.due == math.inf
    job.policy.job_ended()
    assert job.policy.due == math.inf


steps = st.lists(
    st.tuples(
        st.sampled_from(
            ["caller", "leave", "start", "closing", "closed", "active", "stream", "gone", "wait"]
        ),
        st.integers(0, 3),
    ),
    max_size=40,
)


@given(steps)
def test_each_state_trips_at_most_once_and_never_early(taken: list[tuple[str, int]]) -> None:
    job = Job()
    for what, which in taken:
        policy, key = job.policy, f"{which}"
        if what == "caller":
            policy.callers(key, which)
        elif what == "leave":
            policy.left(key)
        elif what == "start":
            policy.session_started(key)
        elif what == "closing":
            policy.session_closing(key)
        elif what == "closed":
            policy.session_closed(key)
        elif what == "active":
            policy.active()
        elif what == "stream":
            policy.stream_opened(key)
        elif what == "gone":
            policy.ending("asked")
        before = len(job.said)
        job.wait(which * 15)
        for trip in job.said[before:]:
            assert trip.evidence[0].seconds_before >= trip.window_seconds - 0.001
    assert all(count >= 1 for count in job.policy.open.values())
    job.policy.job_ended()
    assert job.policy.open == {}
    assert job.policy.due == math.inf
    assert not job.policy.alone


class _Eager(JobPolicy):
    """Silence is due anew at every sign of life: slow, and plainly right."""

    def active(self) -> bool:
        broken = self._silent.tripped
        self._live(self.clock())
        self._silent.end()
        self._settle()
        return broken


spoken = st.lists(
    st.tuples(
        st.sampled_from(["active", "active", "active", "here", "gone", "start", "closed", "mute"]),
        st.sampled_from([0.0, 0.5, 7.0, 30.0, 299.0, 600.0, 601.0, 1300.0]),
    ),
    max_size=30,
)


def lived(
    kind: type[JobPolicy], taken: list[tuple[str, float]], late: float
) -> tuple[list[tuple[str, float]], list[float]]:
    """The trips of a call, and when it was asked whether a caller could be heard."""
    hears, asked = [True], list[float]()
    job = Job()
    job.late = late

    def listening() -> bool:
        asked.append(job.now)
        return hears[0]

    job.policy = kind(Limits(), Subject(), Mode.OBSERVE, listening=listening, clock=lambda: job.now)
    job.policy.job_started()
    for what, seconds in taken:
        if what == "active":
            job.policy.active()
        elif what in ("here", "gone"):
            job.policy.callers(ROOM, int(what == "here"))
        elif what == "start":
            job.policy.session_started(SESSION)
        elif what == "closed":
            job.policy.session_closed(SESSION)
        else:
            hears[0] = not hears[0]
        job.wait(seconds)
    return job.trips, asked


@given(spoken, st.sampled_from([0.0, 0.4]))
def test_a_sign_of_life_that_only_leaves_a_note_changes_no_trip(
    taken: list[tuple[str, float]], late: float
) -> None:
    """Fails if silence is due too early or too late, or is asked about where it is not due."""
    assert lived(JobPolicy, taken, late) == lived(_Eager, taken, late)


def test_a_sign_of_life_says_whether_a_silence_is_over(job: Job) -> None:
    job.policy.callers(ROOM, 1)
    job.policy.session_started(SESSION)
    job.wait(10)
    due = job.policy.due
    assert not job.policy.active()
    assert job.policy.due == due, "nothing is computed anew"
    job.wait(601)
    assert job.trips == [(SILENT_CALLER, 610)]
    assert job.policy.open == {SILENT_CALLER: 1}
    assert job.policy.active()
    assert job.policy.open == {}
    assert not job.policy.active()
