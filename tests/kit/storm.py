"""What happened in the three hours: two services, each of the loops, and small mishaps.

With guards that act the loops stop after seconds and count as avoided; with guards that only
observe they go on and count as wasted.
"""

from __future__ import annotations

from tests.kit.history import History, Labels

__all__ = ["FRONT", "NIGHT", "beside_a_watcher", "healthy", "storm"]

FRONT = {"cluster": "eu", "service_name": "front-desk", "instance": "w1:9464", "job": "agents"}
WATCHER = {"cluster": "watched", "service_name": "runguard-watch", "instance": "w3:9464"}
NIGHT = {"cluster": "us", "service_name": "night-desk", "instance": "w2:9464", "job": "agents"}

AGENTS = {"front-desk": "reservations", "night-desk": "unnamed"}  # LiveKit's default is no name
_NOVA = {"provider": "deepgram", "model": "nova-3"}
_SCRIBE = {"provider": "elevenlabs", "model": "scribe_v2"}
_GPT = {"provider": "openai", "model": "gpt-5-mini"}
_SONIC = {"provider": "cartesia", "model": "sonic-3"}


def storm(end: float, *, enforce: bool) -> History:
    """The story, ending at unix time ``end``.

    Args:
        end: Unix time of the last sample.
        enforce: Whether the guards act or only observe.
    """
    history = History(agents=AGENTS)
    for owner in (FRONT, NIGHT):
        history.heartbeat(owner, end)
        _ordinary(history, owner)
    _reconnects(history, FRONT, enforce)
    _misfires(history, NIGHT, enforce)
    _dispatch(history, FRONT, enforce)
    _cascade(history, NIGHT, enforce)
    _overruns(history, NIGHT, enforce)
    _mishaps(history)
    return history


def beside_a_watcher(end: float) -> History:
    """One loop in two clusters that are the same; the server of ``watched`` has a watcher, too.

    Args:
        end: Unix time of the last sample.
    """
    history = History(agents=AGENTS)
    history.heartbeat(FRONT, end)
    _ordinary(history, FRONT)
    _reconnects(history, FRONT, enforce=False, watched=False)
    for found in history.series.values():
        found += [(n.replace('cluster="eu"', 'cluster="watched"'), v) for n, v in found]
    history.heartbeat(WATCHER, end)
    _from_outside(history, WATCHER, until=181)
    return history


def healthy(end: float) -> History:
    """Three hours in which nothing happened but calls, some noise and a lost connection."""
    history = History(agents=AGENTS)
    for owner in (FRONT, NIGHT):
        history.heartbeat(owner, end)
        _ordinary(history, owner)
        history.level("runguard.stt.streams", owner, 15, (60, 181, 8), **_NOVA)
        for action, mode in (("refuse_connect", "enforce"), ("suppress", "enforce")):
            _trips(history, owner, "vad_misfire", signature="vad_misfire:echo", action=action,
                   mode=mode, agent="unnamed")  # fmt: skip
        for guard in ("room_reconnect", "vad_misfire"):
            _nothing(history, "wasted", owner, guard, ("transport", "llm"))
    return history


def _ordinary(h: History, o: Labels) -> None:
    agent = {"agent": _agent(o)}
    h.level("runguard.jobs", o, 18, (60, 181, 8))
    h.level("runguard.jobs.alone", o, 1, **agent)
    h.level("runguard.open.oldest", o, 240, period="session")
    for age, sessions in (("under_1m", 3), ("under_10m", 15)):
        h.level("runguard.open", o, sessions, period="session", age=age)
    h.times("runguard.session.duration", o, 0.7, 0.08, **agent)
    h.times("runguard.session.idle", o, 0.4, 0.08, **agent)
    h.count("runguard.jobs.ended", o, 0.08, job_outcome="clean")
    h.count("runguard.jobs.ended", o, 0.001, job_outcome="crashed")
    h.count("runguard.jobs.ended", o, 0.0006, job_outcome="killed")
    h.count("runguard.room.connects", o, 0.08, connect="ok")
    h.count("runguard.room.connects", o, 0.002, connect="failed")
    h.count("runguard.room.disconnects", o, 0.07, reason="client_initiated")
    h.count("runguard.room.disconnects", o, 0.006, reason="room_closed")
    h.count("runguard.room.reconnect_episodes", o, 0.01, episode="recovered")
    h.count("runguard.room.reconnect_episodes", o, 0.0006, episode="lost")
    h.count("runguard.stt.results", o, 2.6, kind="genuine", confidence="judged", **_NOVA)
    h.count("runguard.stt.results", o, 0.16, kind="empty", **_NOVA)
    h.count("runguard.stt.results", o, 0.07, kind="low_confidence", **_NOVA)
    h.count("runguard.stt.results", o, 0.7, kind="genuine", **_SCRIBE)
    h.count("runguard.stt.results", o, 0.04, kind="empty", **_SCRIBE)
    h.count("runguard.stt.audio", o, 17, **_NOVA)
    h.count("runguard.stt.audio", o, 4, **_SCRIBE)
    h.level("runguard.stt.streams", o, 4, **_SCRIBE)
    for signature in ("empty_transcript", "low_confidence"):
        signature = f"vad_misfire:{signature}"
        h.count("runguard.signatures", o, 0.09, signature=signature, outcome="suppressed", **agent)
        h.count("runguard.signatures", o, 0.04, signature=signature, outcome="allowed", **agent)
    for guard in ("room_reconnect", "vad_misfire", "job_dispatch", "track_subscribe"):
        h.times("runguard.guard.duration", o, 0.02, 1.5, guard=guard)
    for result, rate in (
        ("acquired", 0.08),
        ("reentered", 0.001),
        ("renewed", 6),
        ("released", 0.08),
    ):
        h.count("runguard.job.claims", o, rate, result=result, backend="redis")
    for operation, result, rate in (
        ("acquire", "acquired", 0.08), ("renew", "renewed", 6), ("release", "released", 0.08)
    ):  # fmt: skip
        call = {"operation": operation, "result": result, "backend": "redis"}
        h.times("runguard.job.claim.duration", o, 0.08, rate, **call)
    h.count(
        "runguard.signatures", o, 0.08, signature="job_claim:acquired", outcome="allowed", **agent
    )
    for component, names, rate in (
        ("transport", {}, 0.0022), ("stt", _NOVA, 0.0021), ("stt", _SCRIBE, 0.0007),
        ("llm", _GPT, 0.0034), ("tts", _SONIC, 0.0046),
    ):  # fmt: skip
        h.dollars("runguard.cost.estimated", o, rate, component=component, **names)


def _reconnects(h: History, o: Labels, enforce: bool, *, watched: bool = True) -> None:
    who = {"signature": "room_reconnect", "agent": "reservations"}
    guard = "room_reconnect"
    h.count("runguard.signatures", o, 0.0015, outcome="allowed", **who)
    if enforce:
        h.count(
            "runguard.signatures", o, 0, (138, 143, 1.4), (165, 170, 0.6), outcome="refused", **who
        )
        for action, rate in (("refuse_connect", 0.05), ("shutdown_job", 0.015)):
            _trips(h, o, guard, (138, 143, rate), action=action, mode="enforce", **who)
        h.level(
            "runguard.guards.open",
            o,
            0,
            (138, 144, 18),
            (165, 171, 6),
            guard=guard,
            mode="enforce",
            **who,
        )
        _saved(h, "avoided", o, guard, (138, 144, 0.004), ("transport", "agent"))
        h.count("runguard.room.connects", o, 0, (138, 143, 1.4), (165, 170, 0.6), connect="refused")
        _nothing(h, "wasted", o, guard, ("transport", "agent"))
    else:
        h.count("runguard.signatures", o, 0, (138, 175, 1.9), outcome="observed", **who)
        _trips(h, o, guard, (138, 172, 0.02), action="none", mode="observe", **who)
        h.level("runguard.guards.open", o, 0, (138, 181, 20), guard=guard, mode="observe", **who)
        _saved(h, "wasted", o, guard, (138, 181, 0.0026), ("transport", "agent"))
        _nothing(h, "avoided", o, guard, ("transport", "agent"))
    h.count("runguard.room.disconnects", o, 0, (138, 145, 1.2), reason="duplicate_identity")
    if watched:
        _from_outside(h, o)


def _from_outside(h: History, o: Labels, until: float = 144) -> None:
    """The same loops, as the server shows them."""
    who = {
        "guard": "room_reconnect",
        "signature": "room_reconnect",
        "agent": "reservations",
        "mode": "observe",
        "vantage": "server",
    }
    shown = {name: who[name] for name in ("signature", "agent", "vantage")}
    h.count("runguard.trips", o, 0, (138, until, 0.05), action="none", **who)
    h.count("runguard.signatures", o, 0, (138, until, 1.9), outcome="observed", **shown)
    h.level("runguard.guards.open", o, 0, (138, until, 18), **who)
    h.level("runguard.server.watchers", o, 1, duty="alone")
    minutes = {"component": "transport", "provider": "livekit-cloud", "model": "participant"}
    shown_by = {"agent": "reservations", "vantage": "server"}
    h.dollars("runguard.cost.estimated", o, 0.0003, **minutes, **shown_by)
    h.level("runguard.server.rooms", o, 18)
    h.level("runguard.server.rooms.oldest", o, 900)
    for party in ("agent", "caller", "other"):
        h.level("runguard.server.participants", o, 18, party=party)
    h.count("runguard.server.webhooks", o, 0.5, webhook="accepted")
    for answer in ("ok", "failed"):
        h.count("runguard.server.questions", o, 0.1, answer=answer)
    h.count("runguard.server.acts", o, 0.01, action="remove_agent", act="done")


def _misfires(h: History, o: Labels, enforce: bool) -> None:
    signature = "vad_misfire:echo"
    who = {"signature": signature, "agent": "unnamed"}
    guard, loud = "vad_misfire", (112, 128, 1.5) if enforce else (112, 181, 2.6)
    h.count("runguard.stt.results", o, 0.01, loud, kind="echo", **_NOVA)
    h.count("runguard.signatures", o, 0.001, outcome="allowed", **who)
    outcome = "suppressed" if enforce else "observed"
    h.count("runguard.signatures", o, 0, loud, outcome=outcome, **who)
    action = "mute_while_speaking" if enforce else "none"
    mode = "enforce" if enforce else "observe"
    h.count("runguard.trips", o, 0, (112, 126 if enforce else 178, 0.03), guard=guard,
            action=action, mode=mode, **who)  # fmt: skip
    end = 129 if enforce else 181
    h.level("runguard.guards.open", o, 0, (112, end, 9), guard=guard, mode=mode, **who)
    kind = "avoided" if enforce else "wasted"
    _saved(h, kind, o, guard, (112, end, 0.0042), ("llm", "tts"))
    _nothing(h, "wasted" if enforce else "avoided", o, guard, ("llm", "tts"))
    names = {"agent": "unnamed", "signature": "vad_misfire:no_transcript"}
    h.count("runguard.signatures", o, 0.01, outcome="observed", **names)


def _dispatch(h: History, o: Labels, enforce: bool) -> None:
    who = {"agent": "reservations"}
    outcome = "refused" if enforce else "observed"
    h.count(
        "runguard.signatures", o, 0.0004, (172, 179, 0.04), signature="job_claim:refused",
        outcome=outcome, **who,
    )  # fmt: skip
    action, mode = ("refuse_job", "enforce") if enforce else ("none", "observe")
    h.count(
        "runguard.trips", o, 0, (172, 179, 0.04), guard="job_dispatch", action=action, mode=mode,
        signature="job_claim:refused", **who,
    )  # fmt: skip
    h.count("runguard.job.claims", o, 0.0004, (172, 179, 0.04), result="refused", backend="redis")
    h.count("runguard.jobs.ended", o, 0, (172, 179, 0.04), job_outcome="refused")
    if enforce:
        h.count("runguard.job.refusals", o, 0.0004, (172, 179, 0.04), refusal="holder_serving")
    for result in ("passed_on", "taken_over"):
        h.count("runguard.job.claims", o, 0.0005, result=result, backend="redis")
    for kind, burst in (("unverified", (174, 179, 0.05)), ("lost", (176, 178, 0.02))):
        name = {"signature": f"job_claim:{kind}", "outcome": "allowed"}
        h.count("runguard.signatures", o, 0, burst, **name, **who)
        h.count("runguard.job.claims", o, 0, burst, result=kind, backend="redis")
    h.count(
        "runguard.signatures", o, 0.0005, signature="job_claim:taken_over", outcome="allowed", **who
    )
    call = {"operation": "acquire", "backend": "redis", "result": "error"}
    h.times("runguard.job.claim.duration", o, 0.9, 0, (174, 179, 0.3), **call)
    kind, other = ("avoided", "wasted") if enforce else ("wasted", "avoided")
    _saved(h, kind, o, "job_dispatch", (172, 179, 0.003), ("transport", "agent"))
    _nothing(h, other, o, "job_dispatch", ("transport", "agent"))


def _cascade(h: History, o: Labels, enforce: bool) -> None:
    guard, end = "track_subscribe", 160 if enforce else 176
    who = {"signature": guard, "agent": "unnamed"}
    h.count("runguard.track.subscriptions", o, 0.05, subscription="opened", source="microphone")
    flap = (152, end, 0.9)
    became = "reused" if enforce else "observed"
    h.count("runguard.track.subscriptions", o, 0, flap, subscription=became, source="microphone")
    h.count("runguard.signatures", o, 0.004, outcome="allowed", **who)
    h.count("runguard.signatures", o, 0, flap, outcome=became, **who)
    action, mode = ("reuse_stream", "enforce") if enforce else ("none", "observe")
    _trips(h, o, guard, (152, end, 0.02), action=action, mode=mode, **who)
    h.level("runguard.guards.open", o, 0, (152, end, 5), guard=guard, mode=mode, **who)
    more = () if enforce else ((152, 181, 22.0),)
    h.level("runguard.stt.streams", o, 15, (60, 181, 8), *more, **_NOVA)
    kind, other = ("avoided", "wasted") if enforce else ("wasted", "avoided")
    _saved(h, kind, o, guard, (152, end, 0.0016), ("stt",))
    _nothing(h, other, o, guard, ("stt",))


def _overruns(h: History, o: Labels, enforce: bool) -> None:
    guard, end = "session_overrun", 150 if enforce else 170
    action, mode = ("shutdown_job", "enforce") if enforce else ("none", "observe")
    who = {"signature": "session_overrun:agent_alone", "agent": "unnamed"}
    outcome = "refused" if enforce else "observed"
    h.level("runguard.jobs.alone", o, 1, (140, end, 6), agent="unnamed")
    h.count("runguard.signatures", o, 0, (140, 150, 0.01), outcome=outcome, **who)
    _trips(h, o, guard, (140, 150, 0.01), action=action, mode=mode, **who)
    h.level("runguard.guards.open", o, 0, (140, end, 6), guard=guard, mode=mode, **who)
    again = {"signature": "session_overrun:stt_reconnect", "agent": "unnamed"}
    h.count("runguard.signatures", o, 0.002, (120, 135, 0.2), outcome="observed", **again)
    h.count("runguard.jobs.ended", o, 0, (150, 160, 0.01), job_outcome="alone")
    kind, other = ("avoided", "wasted") if enforce else ("wasted", "avoided")
    _saved(h, kind, o, guard, (140, end, 0.0012), ("transport", "agent"))
    _nothing(h, other, o, guard, ("transport", "agent"))


def _mishaps(h: History) -> None:
    h.level("runguard.stt.streams", FRONT, 15, (60, 181, 8), **_NOVA)
    h.count("runguard.internal_errors", FRONT, 0, (170, 178, 0.008), where="Room.connect")
    for drop in ("queue_full", "malformed"):
        h.count("runguard.events.dropped", FRONT, 0, (171, 178, 0.01), drop=drop)
    h.count(
        "runguard.cost.unpriced", NIGHT, 0, (100, 181, 0.8), component="tts", provider="acme",
        model="voice-9", unit="character",
    )  # fmt: skip


def _trips(
    h: History, o: Labels, guard: str, *bursts: tuple[float, float, float], **by: str
) -> None:
    h.count("runguard.trips", o, 0, *bursts, guard=guard, **by)


def _agent(o: Labels) -> str:
    return AGENTS[o["service_name"]]


def _saved(
    h: History,
    kind: str,
    o: Labels,
    guard: str,
    burst: tuple[float, float, float],
    parts: tuple[str, ...],
) -> None:
    for part in parts:
        h.dollars(
            f"runguard.cost.{kind}", o, 0, burst, guard=guard, component=part, agent=_agent(o)
        )


def _nothing(h: History, kind: str, o: Labels, guard: str, parts: tuple[str, ...]) -> None:
    for part in parts:
        h.count(f"runguard.cost.{kind}", o, 0, guard=guard, component=part, agent=_agent(o))
