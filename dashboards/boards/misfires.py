"""Noise, echo and silence that are taken for speech."""

from __future__ import annotations

from dashboards.boards.parts import guard_open, how_to_read, lines, number, outcomes, trips_of
from dashboards.model import Board, Kind, Panel, Row, Target
from dashboards.queries import increase, label, legend, owner, rate, ratio

__all__ = ["BOARD"]

_ALL = "runguard.stt.results"
_OWNER = owner(_ALL).split()
_SHARES = (
    f"{rate(_ALL, owner(_ALL, by='kind'))}\n"
    f"  / on ({', '.join(map(label, _OWNER))}) group_left () ({rate(_ALL, owner(_ALL))} > 0)"
)
_SPEAKING = owner(_ALL, by="provider model")

BOARD = Board(
    "runguard-misfires",
    "Runguard / Misfires",
    "What the recogniser returns that is not speech of the user, and what the guard does with it.",
    (
        Row(
            4,
            (
                number(
                    "Storms",
                    "Misfire storms found in the range shown.",
                    increase("runguard.trips", guard="vad_misfire"),
                    width=5,
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Share of misfires",
                    "Share of the final results in the range shown that were not genuine speech.",
                    ratio(increase(_ALL, kind="!genuine"), increase(_ALL)),
                    width=5,
                    zero=False,
                    unit="percentunit",
                    warn=0.2,
                    bad=0.3,
                ),
                number(
                    "Kept from the LLM",
                    "Results that a guard suppressed, so that no LLM call was made for them.",
                    increase("runguard.signatures", signature="~vad_.+", outcome="suppressed"),
                    width=5,
                    decimals=0,
                ),
                number(
                    "Confidence judged",
                    "Share of the final results whose confidence could be judged; the others "
                    "were judged by their words, for their recogniser reports none, or another "
                    "number.",
                    ratio(increase(_ALL, confidence="judged"), increase(_ALL)),
                    width=5,
                    zero=False,
                    unit="percentunit",
                ),
                number(
                    "Echo",
                    "Results that were the agent's own words, heard through the user's microphone.",
                    increase("runguard.signatures", signature="vad_misfire:echo"),
                    width=4,
                    warn=1,
                    decimals=0,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Results by kind",
                    "Shares of each agent's final results by kind; genuine speech belongs on top.",
                    Target(_SHARES, legend(*_OWNER, "kind")),
                    unit="percentunit",
                    maximum=1,
                ),
                trips_of("vad_misfire"),
            ),
        ),
        Row(
            8,
            (
                outcomes(
                    "~vad_misfire:.+",
                    "Misfires by signature and outcome",
                    "Misfires per second: suppressed ones cost nothing, allowed ones an LLM turn.",
                ),
                Panel(
                    Kind.BARGAUGE,
                    "Share of misfires by provider",
                    "Share of each provider's and model's results in the range that were misfires.",
                    unit="percentunit",
                    targets=(
                        Target(
                            ratio(
                                increase(_ALL, _SPEAKING, kind="!genuine"),
                                increase(_ALL, _SPEAKING),
                            ),
                            legend(*_SPEAKING.split()),
                            instant=True,
                        ),
                    ),
                    warn=0.2,
                    bad=0.3,
                    maximum=1,
                ),
            ),
        ),
        Row(6, (guard_open("vad_misfire", 24),)),
        how_to_read(
            "Each final result is *genuine*, *empty*, *low_confidence*, an *echo* of the agent or "
            "a *duplicate*: the same utterance, reported twice. "
            "Five misfires in a row are a storm. One agent and all providers: look at its room "
            "audio and VAD settings. One provider and all agents: the provider changed. Echo: the "
            "caller's device has no echo cancellation, so the agent answers itself."
        ),
    ),
)
