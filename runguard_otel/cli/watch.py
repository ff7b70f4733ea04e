"""``runguard-otel watch``: the loops that a LiveKit server shows, of agents in any language."""

from __future__ import annotations

import asyncio
import json
import logging
import os
import time
from dataclasses import replace

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from runguard_otel.claims.registries.open import backend_of
from runguard_otel.cli.failure import REFUSED, fail
from runguard_otel.core.guards.presence import Limits
from runguard_otel.cost.build import build as cost
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings
from runguard_otel.watch.acting import ACTS, Acting
from runguard_otel.watch.costing import Costs
from runguard_otel.watch.diary import Diary
from runguard_otel.watch.picture import Picture, RoomPicture, look
from runguard_otel.watch.reporting import Reporter
from runguard_otel.watch.server import Credentials, Server, ServerError
from runguard_otel.watch.service import Address, Watch, until_signalled
from runguard_otel.watch.standby import Standby
from runguard_otel.watch.voice import Voice

__all__ = ["limits_of", "watch"]

logger = logging.getLogger("runguard_otel.watch")

ROWS = 40
_EXCEPT = typer.Option(
    [], "--may-be-alone", help="Name of an agent that waits in empty rooms on purpose; repeatable."
)


def watch(
    once: bool = typer.Option(
        False, "--once", help="Print a picture of the server now; exit with 1 if something loops."
    ),
    as_json: bool = typer.Option(False, "--json", help="With --once: print JSON."),
    webhook: str = typer.Option(
        "127.0.0.1:9465", help="Where webhooks and health checks are heard, ADDRESS:PORT."
    ),
    poll: float = typer.Option(
        15, min=1, max=3600, help="Seconds between two rounds of questions to the server."
    ),
    max_age: float = typer.Option(
        0, "--max-age", min=0, help="Seconds a room may be open; 0: as long as it likes."
    ),
    may_be_alone: list[str] = _EXCEPT,
    act: bool = typer.Option(
        False,
        "--act",
        help="Remove the younger of two duplicates, and delete rooms with agents only.",
    ),
    dry_run: bool = typer.Option(False, "--dry-run", help="With --act: only say what it would do."),
    acts_per_minute: int = typer.Option(
        10, min=1, max=600, help="With --act: how often at most, all rooms together."
    ),
) -> None:
    """Watch a LiveKit server from outside: LIVEKIT_URL, LIVEKIT_API_KEY, LIVEKIT_API_SECRET.

    Without --once it serves: it hears the server's webhooks, asks it every --poll seconds, and
    reports what loops as metrics, spans and log lines, until it is told to end.
    """
    settings = Settings.load()
    limits = limits_of(settings, max_age, may_be_alone)
    try:
        credentials = Credentials.load()
        if not once:
            limits = replace(limits, acts=ACTS if act and not dry_run else {})
            reporter = _reporter(settings, limits)
            actor = None
            if act:
                actor = Acting(reporter, dry_run=dry_run, per_minute=acts_per_minute)
            address = _address(webhook)
            voice, standby = _several(settings, credentials, reporter, actor)
            diary = _diary(settings, reporter, limits)
            meter = cost(settings, reporter.recorder, lambda: "").meter
            watching = Watch(
                credentials, limits, reporter, address, poll=poll, actor=actor,
                standby=standby, voice=voice, max_rooms=settings.max_keys,
                costs=Costs(
                    meter, reporter.recorder, lambda: voice.tells,
                    booked=diary.booked if diary is not None else None,
                ),
                diary=diary,
            )  # fmt: skip
            _serve(watching, reporter, f"{credentials.host} every {poll:g} s", address)
            return
        picture = asyncio.run(_look(credentials, limits))
    except ServerError as error:
        fail(error)
    if as_json:
        typer.echo(json.dumps(picture.as_data(), indent=2))
    else:
        show(picture, credentials.host)
    if picture.loops:
        raise typer.Exit(REFUSED)


def _address(text: str) -> Address:
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdecimal() or int(port) > 65_535:
        fail(f"--webhook {text}: give ADDRESS:PORT, such as 0.0.0.0:9465")
    return Address(host.strip("[]") or "0.0.0.0", int(port))


def _reporter(settings: Settings, limits: Limits) -> Reporter:
    if "service.name=" not in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", ""):
        os.environ.setdefault("OTEL_SERVICE_NAME", "runguard-watch")
    return Reporter(settings, limits.acts, backend_of(settings.claims_url))


def _diary(settings: Settings, reporter: Reporter, limits: Limits) -> Diary | None:
    """What keeps the rooms' histories, if the settings name a folder."""
    if not settings.journal:
        return None

    def lost(lines: int) -> None:
        reporter.recorder.add("runguard.events.dropped", lines, drop="journal")

    telemetry = reporter.telemetry
    return Diary(
        settings, telemetry.hash_name, lost,
        acts=limits.acts, release=telemetry.release, clock=time.monotonic,
    )  # fmt: skip


def _several(
    settings: Settings, credentials: Credentials, reporter: Reporter, actor: Acting | None
) -> tuple[Voice, Standby | None]:
    """What tells of loops, and who says whose turn it is, if a registry is named that can."""
    consider = [actor.consider] if actor is not None else []
    shared = bool(settings.claims_url) and backend_of(settings.claims_url) != "memory"
    voice = Voice(reporter, *consider, alone=not shared)
    if not shared:
        return voice, None
    try:
        standby = Standby(settings, credentials.url, voice, reporter)
    except SettingsError as error:
        fail(error)
    reporter.duty = lambda: standby.duty
    if actor is not None:
        actor.may_for = lambda: standby.seconds_to_act
    return voice, standby


def _serve(watching: Watch, reporter: Reporter, whom: str, address: Address) -> None:
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s", level=logging.INFO)

    async def run() -> None:
        reporter.start()
        ways = "; ".join(reporter.telemetry.destinations)
        logger.info("asking %s; webhooks at %s:%d; %s", whom, address.host, address.port, ways)
        await until_signalled(watching.run())

    try:
        asyncio.run(run())
    except OSError as error:
        fail(f"--webhook {address.host}:{address.port}: {error.strerror or error}")
    finally:
        reporter.stop()


def limits_of(settings: Settings, max_age: float, may_be_alone: list[str]) -> Limits:
    """What is a loop from outside, by the settings that say it from inside."""
    return Limits(
        rejoins=settings.room_reconnect_limit,
        rejoin_seconds=settings.room_reconnect_window_seconds,
        tracks=settings.track_subscribe_limit,
        track_seconds=settings.track_subscribe_window_seconds,
        left_seconds=settings.session_overrun_left_seconds,
        unmet_seconds=settings.session_overrun_unmet_seconds,
        age_seconds=max_age or settings.session_overrun_session_seconds,
        by_metadata=settings.claims_by_metadata,
        may_be_alone=frozenset(may_be_alone),
    )


async def _look(credentials: Credentials, limits: Limits) -> Picture:
    async with Server(credentials) as server:
        return await look(server, limits)


def show(picture: Picture, host: str) -> None:
    """Print a picture as a table and one line that sums it up."""
    console = Console()
    data = picture.as_data()
    if picture.rooms:
        table = Table(title=f"Rooms of {host}", title_justify="left")
        for name in ("room", "age", "agents", "callers", "what loops"):
            table.add_column(name, overflow="fold")
        for room in picture.rooms[:ROWS]:
            table.add_row(*_row(room))
        console.print(table)
    if len(picture.rooms) > ROWS:
        console.print(f"and {len(picture.rooms) - ROWS} rooms more, see --json")
    if not picture.rooms:
        console.print(f"No room is open on {host}.", highlight=False)
        return
    console.print(
        f"{len(picture.rooms)} rooms, {data['agents']} agents; {data['agents_alone']} rooms have "
        f"agents and no caller; the oldest room is {span(data['oldest_seconds'])} old; "
        + (f"[bold red]{picture.loops} loops[/]" if picture.loops else "no loops"),
        highlight=False,
        soft_wrap=True,
    )


def _row(room: RoomPicture) -> tuple[str, ...]:
    agents = ", ".join(room.agents) or "none"
    loops = "\n".join(f"{t.signature}: {t.reason}" for t in room.trips)
    return (
        escape(room.name),
        span(room.age_seconds),
        escape(agents),
        str(room.callers),
        f"[red]{escape(loops)}[/]" if loops else "",
    )


def span(seconds: float) -> str:
    """A time for people: ``42 s``, ``17 min``, ``5 h 20 min``, ``3 d 4 h``."""
    minutes, hours, days = int(seconds // 60), int(seconds // 3600), int(seconds // 86_400)
    if minutes < 2:
        return f"{int(seconds)} s"
    if hours < 2:
        return f"{minutes} min"
    return f"{hours} h {minutes % 60} min" if days < 2 else f"{days} d {hours % 24} h"
