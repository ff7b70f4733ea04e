"""Did it work? Said of each storm, with reasons."""

from __future__ import annotations

from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from runguard_otel.core.guards.overrun import AGENT_ALONE
from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.demo.runs import Plan, Run
from runguard_otel.demo.scene import Storm

__all__ = ["Verdict", "explain", "judge", "verdicts"]

_COUNTED: Final = {
    "llm_calls": "LLM calls",
    "tts_characters": "TTS characters",
    "stt_sessions": "STT sessions",
    "stt_seconds": "STT seconds",
    "connections": "joins",
    "further_minutes": "minutes in the room",
    "jobs": "agents in the room",
}
_SLACK: Final = {"stt_seconds": 2.0}
"""Seconds by which two runs of the same length differ on a busy machine."""

_AT_MOST: Final = Decimal("0.98")
"""Of the cost without guards; less than that is not noise."""

_DID: Final = {
    "refuse_connect": "that connect was refused before any request was made",
    "shutdown_job": "that connect was refused and the job asked to end",
    "suppress": "from then on only genuine speech reached the LLM",
    "mute_while_speaking": "the microphone was closed while the agent spoke",
    "refuse_job": "the second job was refused before it cost anything",
    "reuse_stream": "all of them shared one recogniser stream",
    "fail_stream": "the stream failed, as its provider could have made it",
}


@dataclass(frozen=True)
class Verdict:
    """What came of one storm.

    Args:
        storm: The storm.
        problems: What is not as promised, in words; empty means all is well.
    """

    storm: Storm
    problems: tuple[str, ...] = ()

    @property
    def ok(self) -> bool:
        """Whether the guard tripped, saved something and cost no user anything."""
        return not self.problems


def verdicts(plan: Plan) -> list[Verdict]:
    """One verdict per storm."""
    return [judge(storm, *plan.pair(storm)) for storm in plan.storms]


def judge(storm: Storm, off: Run, on: Run) -> Verdict:
    """Compare the run without guards with the run with them."""
    problems = [
        f"the run with guards {_word(r)} {r.error}" + (f" (log: {r.log})" if r.log else "")
        for r in (off, on)
        if r.error
    ]
    if problems or not (off.finished and on.finished):
        return Verdict(storm, tuple(problems or ["it was not played to the end"]))
    own = [trip for trip in on.trips if trip["guard"] == str(storm.guard)]
    if not own:
        problems.append(f"{storm.guard} did not trip")
    elif any(trip["mode"] != str(Mode.ENFORCE) for trip in own):
        problems.append(f"{storm.guard} tripped but only watched")
    if on.used.cost > off.used.cost * _AT_MOST:
        problems.append(f"guards on cost ${on.used.cost:.4f}, off ${off.used.cost:.4f}")
    with_guards, without = on.used.as_dict(), off.used.as_dict()
    for meter, words in _COUNTED.items():
        if with_guards[meter] > without[meter] + _SLACK.get(meter, 0):
            problems.append(f"more {words} with guards than without")
    if on.served is not None and off.served is not None and on.served[0] < on.served[1]:
        problems.append(f"{storm.served}: {on.served[0]} of {on.served[1]} with guards on")
    return Verdict(storm, tuple(problems))


def explain(trip: dict[str, Any]) -> str:
    """A trip in one sentence: what was seen, in which time, and what was done."""
    if trip["guard"] == GuardName.JOB_DISPATCH:
        return f"a second job for a room whose agent is alive and well: {_done(trip)}."
    if trip["signature"] == AGENT_ALONE:
        return f"the agent had been alone for {trip['window_seconds']:g} s: it was made to leave."
    seen: dict[str, int] = {}
    for signature, _, detail in trip["evidence"]:
        kind = signature.partition(":")[2] or signature
        words = f"{kind} ({detail})" if detail else kind
        seen[words] = seen.get(words, 0) + 1
    what = ", ".join(f"{n} x {words}" for words, n in seen.items())
    what = what or f"{trip['count']} x {trip['signature']}"
    span = max((before for _, before, _ in trip["evidence"]), default=0.0)
    within = f" within {span:.1f} s" if span else ""
    return f"{what.replace('_', ' ')}{within} (limit {trip['threshold']}): {_done(trip)}."


def _done(trip: dict[str, Any]) -> str:
    return _DID.get(trip["action"], f"action: {trip['action']}")


def _word(run: Run) -> str:
    return "on" if run.guards else "off"
