"""Noise, echo and silence that are taken for speech."""

from __future__ import annotations

from dashboards.boards.parts import guard_open, how_to_read, lines, number, outcomes, trips_of
from dashboards.model import Board, Kind, Panel, Row, Target
from dashboards.queries import increase, legend, rate, ratio

__all__ = ["BOARD"]

_ALL = "runguard.stt.results"

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
                    width=6,
                    bad=1,
                    decimals=0,
                ),
                number(
                    "Share of misfires",
                    "Share of the final results in the range shown that were not genuine speech.",
                    ratio(increase(_ALL, kind="!genuine"), increase(_ALL)),
                    width=6,
                    unit="percentunit",
                    warn=0.2,
                    bad=0.3,
                ),
                number(
                    "Kept from the LLM",
                    "Results that a guard suppressed, so that no LLM call was made for them.",
                    increase("runguard.signatures", signature="~vad_.+", outcome="suppressed"),
                    width=6,
                    decimals=0,
                ),
                number(
                    "Echo",
                    "Results that were the agent's own words, heard through the user's microphone.",
                    increase("runguard.signatures", signature="vad_misfire:echo"),
                    width=6,
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
                    "Shares of final STT results by kind; genuine speech should fill most of it.",
                    Target(
                        f"{rate(_ALL, 'kind')} / on () group_left () ({rate(_ALL)} > 0)",
                        legend("kind"),
                    ),
                    unit="percentunit",
                    stacked=True,
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
                                increase(_ALL, "provider model", kind="!genuine"),
                                increase(_ALL, "provider model"),
                            ),
                            legend("provider", "model"),
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
            "Each final result is *genuine*, *empty*, *low_confidence* or an *echo* of the agent. "
            "Five misfires in a row are a storm. One agent and all providers: look at its room "
            "audio and VAD settings. One provider and all agents: the provider changed. Echo: the "
            "caller's device has no echo cancellation, so the agent answers itself."
        ),
    ),
)
