"""Who may serve a room."""

from __future__ import annotations

from typing import Any

from dashboards.boards.parts import each, how_to_read, lines, number, times
from dashboards.model import Board, Kind, Panel, Row, Target
from dashboards.queries import increase, label, legend, owner, rate, ratio

__all__ = ["BOARD"]

_TIME = "runguard.job.claim.duration"


_BY_BACKEND = owner(_TIME, by="backend")


def _claim(title: str, description: str, kind: str, **more: Any) -> Panel:
    expr = increase("runguard.signatures", signature=f"job_claim:{kind}")
    return number(title, description, expr, width=6, decimals=0, **more)


BOARD = Board(
    "runguard-claims",
    "Runguard / Claims",
    "Whether each room is served by exactly one job, and how the registry that decides it is.",
    (
        Row(
            4,
            (
                _claim(
                    "Refused",
                    "Jobs for a room that another job serves; in enforce mode they never joined.",
                    "refused",
                    warn=1,
                ),
                _claim(
                    "Unverified",
                    "Calls served although the registry did not answer.",
                    "unverified",
                    warn=1,
                ),
                _claim(
                    "Lost",
                    "Claims that another job took or that ran out while the job was serving.",
                    "lost",
                    bad=1,
                ),
                _claim(
                    "Taken over",
                    "Rooms that a job took over from one that had died.",
                    "taken_over",
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Claims by result",
                    "Claims per second by result and registry; renewals are left out.",
                    each(
                        rate,
                        "runguard.job.claims",
                        "result backend",
                        result="!renewed",
                        exemplar=True,
                    ),
                    unit="eps",
                ),
                lines(
                    "Time of a registry call",
                    "Half and 99 of 100 calls to the registry are quicker than this, by operation.",
                    times(_TIME, 0.5, "operation"),
                    times(_TIME, 0.99, "operation"),
                    unit="s",
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Registry calls that fail",
                    "Share of the calls to each registry that failed or had no answer in time.",
                    Target(
                        ratio(
                            rate(_TIME, _BY_BACKEND, "_count", result="error"),
                            rate(_TIME, _BY_BACKEND, "_count"),
                        ),
                        legend(*_BY_BACKEND.split()),
                    ),
                    unit="percentunit",
                    width=8,
                    maximum=1,
                ),
                lines(
                    "Refused, unverified, lost",
                    "The results that someone should know about, per second.",
                    each(
                        rate,
                        "runguard.signatures",
                        "signature",
                        signature="~job_claim:(refused|unverified|lost|taken_over)",
                        exemplar=True,
                    ),
                    unit="eps",
                    width=8,
                ),
                lines(
                    "Jobs ended",
                    "Jobs ended per second, by how; a killed job leaves a claim that must run out.",
                    each(rate, "runguard.jobs.ended", "job_outcome"),
                    unit="eps",
                    width=8,
                ),
            ),
        ),
        Row(
            8,
            (
                lines(
                    "Why jobs were refused",
                    "Jobs refused their room, or asked to leave it, per second and by reason.",
                    each(rate, "runguard.job.refusals", "refusal", exemplar=True),
                    unit="eps",
                ),
                lines(
                    "From one job to the next",
                    "Rooms per second whose next job came while the former still said its "
                    "farewell, and rooms taken over from a job that had died.",
                    each(
                        rate,
                        "runguard.job.claims",
                        "result",
                        result="~passed_on|taken_over",
                        exemplar=True,
                    ),
                    unit="eps",
                ),
            ),
        ),
        Row(
            6,
            (
                Panel(
                    Kind.TABLE,
                    "Duplicates by agent",
                    "Jobs in the range shown that were for a room another job served.",
                    unit="none",
                    width=24,
                    targets=(
                        Target(
                            f"""{
                                increase(
                                    "runguard.signatures",
                                    "cluster service agent outcome",
                                    signature="job_claim:refused",
                                )
                            } > 0""",
                            "Duplicates",
                            instant=True,
                            unit="none",
                        ),
                    ),
                    columns=(
                        (label("cluster"), "Cluster"),
                        (label("service"), "Service"),
                        (label("agent"), "Agent"),
                        (label("outcome"), "Stopped?"),
                    ),
                    mappings=(
                        (
                            "Stopped?",
                            (("refused", "stopped", "green"), ("observed", "NOT stopped", "red")),
                        ),
                    ),
                ),
            ),
        ),
        how_to_read(
            "Before a job serves a room it claims it. **Refused** is the guard at work; many of "
            "them mean that something dispatches twice. **Unverified** means the registry did not "
            "answer and the call was served anyway: then a room *can* get two agents. **Lost** "
            "means that it may have happened. **Passed on** is healthy: a caller came back, or the "
            "next one came, before the former agent had finished its farewell."
        ),
    ),
)
