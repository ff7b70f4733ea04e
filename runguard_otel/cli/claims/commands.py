"""``runguard-otel claims``: who serves which room, for how long, and how to let go of it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from typing import TypeVar

import typer

from runguard_otel.claims.key import PREFIX, claim_key
from runguard_otel.claims.redact import redact_url
from runguard_otel.claims.registries.open import open_registry
from runguard_otel.claims.registries.sqlite import NoClaimsFile, SqliteRegistry, default_path
from runguard_otel.claims.registry import ClaimRecord, ClaimRegistry, Holder, RegistryUnavailable
from runguard_otel.cli.claims.init import prepare, recipe
from runguard_otel.cli.claims.view import show_records
from runguard_otel.cli.failure import REFUSED, fail
from runguard_otel.core.ports import JobFacts
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

__all__ = ["app"]

app = typer.Typer(help="The claims of jobs on rooms.", no_args_is_help=True)

T = TypeVar("T")
TIMEOUT = 10.0
"""Bound on one command's talk with the registry, in seconds: no call waits for it."""

_URL = typer.Option("", "--url", help="The registry. Default: RUNGUARD_CLAIMS_URL.")
_JSON = typer.Option(False, "--json", help="Print JSON.")
_ROOM = typer.Argument("", help="Room name; it is hashed here and sent nowhere. Or give --key.")
_KEY = typer.Option("", "--key", help="The hashed key, as `list` prints it.")
_HOST = typer.Option("", "--host", help="LiveKit server or project. Default: LIVEKIT_URL.")
_NO_HOST = typer.Option(
    False, "--no-host", help="A claim made by a `JobDispatchGuard` of your own: it knows no server."
)
_AGENT = typer.Option("", "--agent-name", help="The agent's name, if it has one.")
_TYPE = typer.Option("room", "--job-type", help="room, publisher or participant.")
_PARTICIPANT = typer.Option("", "--participant", help="Identity, for jobs per participant.")
_METADATA = typer.Option(
    "", "--metadata", help="Of the dispatch, where RUNGUARD_CLAIMS_BY_METADATA is on."
)


@app.command("list")
def list_command(
    url: str = _URL,
    as_json: bool = _JSON,
    everything: bool = typer.Option(False, "--all", help="Released claims too."),
) -> None:
    """Every claim: who holds it, since when, for how long, with which token."""
    try:
        records = _ask(url, lambda registry: registry.inspect())
    except NoClaimsFile as error:
        if not as_json:
            typer.echo(_unused(error))
            return
        records = []
    show_records([r for r in records if everything or r.state != "released"], as_json)


@app.command("show")
def show(
    room: str = _ROOM,
    key: str = _KEY,
    url: str = _URL,
    host: str = _HOST,
    no_host: bool = _NO_HOST,
    agent_name: str = _AGENT,
    job_type: str = _TYPE,
    participant: str = _PARTICIPANT,
    metadata: str = _METADATA,
    as_json: bool = _JSON,
) -> None:
    """The claims on one room, one for each of its lives; exits with 1 if it was never claimed."""
    wanted = _key(room, key, None if no_host else host, agent_name, job_type, participant, metadata)
    show_records(_found(url, wanted, exactly=bool(key)), as_json)


@app.command("release")
def release(
    room: str = _ROOM,
    key: str = _KEY,
    url: str = _URL,
    host: str = _HOST,
    no_host: bool = _NO_HOST,
    agent_name: str = _AGENT,
    job_type: str = _TYPE,
    participant: str = _PARTICIPANT,
    metadata: str = _METADATA,
    yes: bool = typer.Option(False, "--yes", "-y", help="Do not ask."),
) -> None:
    """Let go of a room that a dead or hung job still holds.

    A holder that lives notices at its next heartbeat and takes the room back, unless somebody else
    was faster. Only the claim as shown is released: one that changes meanwhile is left alone.
    """
    wanted = _key(room, key, None if no_host else host, agent_name, job_type, participant, metadata)
    found = _found(url, wanted, exactly=bool(key))
    held = [record for record in found if record.state != "released"]
    if not held:
        typer.echo("already released; nothing to do")
        return
    show_records(held)
    if len(held) > 1:
        fail("a room of that name was opened more than once; say which with --key", REFUSED)
    (record,) = held
    if not yes:
        typer.confirm("Release this claim?", abort=True)
    if not _ask(url, lambda registry: _let_go(registry, record)):
        fail("it changed hands or was released meanwhile; look again with `claims show`", REFUSED)
    typer.echo(f"released {record.key}, token {record.token}")


@app.command("init")
def init(
    url: str = _URL,
    print_only: bool = typer.Option(
        False, "--print", help="Print what is needed (tables, rights) and change nothing."
    ),
) -> None:
    """Make what the registry needs: tables in PostgreSQL, a table in DynamoDB, nothing in Redis."""
    url = url or Settings.load().claims_url
    if print_only:
        try:
            typer.echo(recipe(url))
        except SettingsError as error:
            fail(error)
        return
    typer.echo(_ask(url, prepare, make=True))


def _key(
    room: str,
    key: str,
    host: str | None,
    agent_name: str,
    job_type: str,
    participant: str,
    metadata: str,
) -> str:
    if bool(room) == bool(key):
        fail("give either a room name or --key")
    if key:
        if not key.startswith(PREFIX):
            fail(f"a key starts with {PREFIX}; for a room name leave out --key")
        return key
    kind = f"JT_{job_type.upper()}"
    if kind not in ("JT_ROOM", "JT_PUBLISHER", "JT_PARTICIPANT"):
        fail("--job-type is room, publisher or participant")
    if host is None:  # as JobDispatchGuard makes its key: of the room, no server and no job type
        host, kind = "", ""
    else:
        host = host or os.environ.get("LIVEKIT_URL", "")
        if not host:
            fail(
                "the key depends on the LiveKit server: set LIVEKIT_URL or give --host; or "
                "--no-host for a claim of a JobDispatchGuard of your own"
            )
    return claim_key(
        JobFacts(
            host=host,
            room=room,
            agent_name=agent_name,
            job_type=kind,
            participant=participant,
            job_id="",
            namespace=Settings.load().claims_namespace,
            metadata=metadata,
        )
    )


def _found(url: str, key: str, *, exactly: bool) -> list[ClaimRecord]:
    """The record of a key; or of a room's key without its sid, one for each time it was opened."""
    try:
        if exactly:
            records = _ask(url, lambda registry: registry.inspect(key))
        else:
            everything = _ask(url, lambda registry: registry.inspect())
            records = [r for r in everything if r.key == key or r.key.startswith(f"{key}:")]
    except NoClaimsFile as error:
        fail(_unused(error), REFUSED)
    if not records:
        fail(
            f"no claim on {key}. The key depends on the LiveKit host, agent name, job type and "
            "RUNGUARD_CLAIMS_NAMESPACE: are they those of the worker? "
            "A JobDispatchGuard of your own has no host: --no-host. `claims list` shows all keys",
            REFUSED,
        )
    return records


def _unused(error: NoClaimsFile) -> str:
    return f"no room has been claimed on this host by this user yet: {default_path()}: {error}"


async def _let_go(registry: ClaimRegistry, record: ClaimRecord) -> bool:
    """Release that very claim, with more patience than a call has."""
    who = Holder(record.job_id, record.instance, record.worker)
    await registry.open()
    try:
        return await registry.release(record.key, who, record.token)
    except RegistryUnavailable:
        # The answer may be late, not the deed: what stands there now says.
        for now in await registry.inspect(record.key):
            if (now.state, now.token) == ("released", record.token):
                return True
        return await registry.release(record.key, who, record.token)


def _ask(url: str, work: Callable[[ClaimRegistry], Awaitable[T]], *, make: bool = False) -> T:
    """Run ``work`` on the registry; every failure is one line for people, without credentials.

    Args:
        url: Empty for the one in force.
        work: What to do with the registry.
        make: Whether a file that is not there is made: who looks into one must find no new one.

    Raises:
        NoClaimsFile: If the default file is not there; of a file that was named it is a failure.
    """
    settings = Settings.load()
    url = url or settings.claims_url

    async def run() -> T:
        registry = open_registry(url, settings)
        if isinstance(registry, SqliteRegistry):
            registry.create = make
        try:
            return await work(registry)
        finally:
            await registry.aclose()

    try:
        return asyncio.run(asyncio.wait_for(run(), TIMEOUT))
    except SettingsError as error:
        fail(error)
    except RegistryUnavailable as error:
        if isinstance(error, NoClaimsFile) and not url:
            raise
        fail(f"{redact_url(url) or 'the default registry'}: {error}", REFUSED)
    except asyncio.TimeoutError:
        fail(
            f"{redact_url(url) or 'the default registry'}: no answer within {TIMEOUT:g} s", REFUSED
        )
