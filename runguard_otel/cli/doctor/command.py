"""``runguard-otel doctor``: what works here, what is degraded, and what to do about it."""

from __future__ import annotations

import asyncio
import json
import platform
import time
import uuid
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from runguard_otel.cli.doctor.settings import exporter_findings, settings_findings
from runguard_otel.cli.finding import Finding, held_back
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

__all__ = ["doctor"]

PACKAGES = (
    "livekit-agents",
    "livekit",
    "opentelemetry-sdk",
    "opentelemetry-exporter-otlp",
    "wrapt",
)
_LOOPBACK = ("127.0.0.1", "localhost", "::1")
STYLE = {"ok": "green", "note": "cyan", "degraded": "yellow", "broken": "bold red"}


def doctor(
    agent: Annotated[
        Path | None,
        typer.Argument(
            exists=True,
            dir_okay=False,
            help="Your agent's file: read, not run. Is every way to run it guarded?",
        ),
    ] = None,
    as_json: bool = typer.Option(False, "--json", help="Print the findings as JSON."),
    verbose: bool = typer.Option(False, "--verbose", "-v", help="Every patch, with its reason."),
) -> None:
    """Check versions, hooks, settings, the claim registry and telemetry on this machine.

    Exits with 1 if something is broken; degraded guards and notes do not fail it.
    """
    settings = settings_findings()
    with held_back() as warnings:
        findings = [*_versions(), *settings, *_hooks(verbose), *_recognisers(), _claims()]
        findings += [*exporter_findings(), *_telemetry(), *_notifications()]
        findings += _agent(agent) if agent is not None else []
    findings += _unsaid(warnings, findings)
    if as_json:
        typer.echo(json.dumps([asdict(f) for f in findings], indent=2))
    else:
        _print(findings)
    raise typer.Exit(int(any(f.state == "broken" for f in findings)))


def _print(findings: list[Finding]) -> None:
    table = Table(title="runguard-otel doctor", title_justify="left", show_lines=False)
    for column in ("what", "state", "finding"):
        table.add_column(column, overflow="fold")
    for f in findings:
        detail = f.detail + (f"\n-> {f.advice}" if f.advice else "")
        table.add_row(f.subject, f"[{STYLE[f.state]}]{f.state}[/]", detail)
    Console().print(table)


def _unsaid(warnings: list[str], findings: list[Finding]) -> list[Finding]:
    """What was logged meanwhile and no finding says yet."""
    return [
        Finding("warning", "note", text)
        for text in warnings
        if not any(f.state == "broken" and f.detail in text for f in findings)
    ]


def _versions() -> list[Finding]:
    found = [Finding("python", "ok", platform.python_version())]
    for name in PACKAGES:
        try:
            found.append(Finding(name, "ok", metadata.version(name)))
        except metadata.PackageNotFoundError:
            found.append(_lacking(name))
    return found


def _lacking(name: str) -> Finding:
    if name.startswith("livekit"):  # runguard-otel-core alone is meant to do without
        alone = (
            "not installed: the guards alone, watch, preview and export work, instrument() does not"
        )
        return Finding(name, "note", alone, "pip install runguard-otel")
    return Finding(name, "broken", "not installed", f"pip install '{name}'")


def _hooks(verbose: bool) -> list[Finding]:
    import runguard_otel

    guard = runguard_otel.instrument()
    try:
        if not guard.active:
            return []
        reports = guard.patches
    finally:
        runguard_otel.uninstrument()
    found = []
    for name in dict.fromkeys(r.guard for r in reports):
        mine = [r for r in reports if r.guard == name]
        missing = [r.name for r in mine if r.state == "missing"]
        state, detail = "ok", f"{len(mine)} hooks in place"
        if missing:
            state, detail = (
                "degraded",
                f"{len(missing)} of {len(mine)} hooks missing here: {missing}",
            )
        found.append(Finding(f"hooks: {name}", state, detail))
    if verbose:
        found += [
            Finding(r.name, "ok" if r.state == "installed" else "degraded", r.why) for r in reports
        ]
    return found


def _recognisers() -> list[Finding]:
    """Whether results of the installed recognisers can be judged by their confidence."""
    from runguard_otel.adapters.livekit.facts.recognisers import RECOGNISERS, judged, meaning_of

    found = []
    for plugin in dict.fromkeys(row.plugin for row in RECOGNISERS):
        try:
            version = metadata.version(f"livekit-plugins-{plugin}")
        except metadata.PackageNotFoundError:
            continue
        meaning = meaning_of(plugin)
        if meaning == "none":
            how = "reports no confidence: its results are judged by their words"
        elif judged(plugin):
            how = f"unsure results are judged by their confidence ({meaning})"
        else:
            how = f"its number is no confidence of a result ({meaning}): judged by their words"
        found.append(Finding(f"recogniser: {plugin}", "ok", f"{version}; {how}"))
    return found


def _agent(agent: Path) -> list[Finding]:
    from runguard_otel.cli.doctor.agent import empty_scrape, place_of

    try:
        said = [place_of(agent), empty_scrape(agent)]
    except (OSError, SyntaxError, ValueError) as error:
        return [Finding(agent.name, "broken", f"is no Python file: {error}")]
    return [Finding(agent.name, *place) for place in said if place is not None]


def _claims() -> Finding:
    from runguard_otel.claims.redact import redact_url
    from runguard_otel.claims.registries.open import open_registry
    from runguard_otel.claims.registry import Granted, Holder

    settings = Settings.load()
    where = redact_url(settings.claims_url) or "the default SQLite file of this host and user"

    async def ask() -> Finding:
        registry = open_registry(settings.claims_url, settings)
        who = Holder("doctor", uuid.uuid4().hex, uuid.uuid4().hex)
        key = f"rg:v1:doctor:{who.instance}"
        try:
            await registry.open()
            start = time.perf_counter()
            answer = await registry.acquire(key, who, 1.0)
            took = (time.perf_counter() - start) * 1e3
            if isinstance(answer, Granted):
                await registry.release(key, who, answer.token)
        finally:
            await registry.aclose()
        scope = "this host only" if registry.backend in ("sqlite", "memory") else "every host"
        return Finding("claims", "ok", f"{where}: {took:.1f} ms; protects {scope}")

    try:
        return asyncio.run(asyncio.wait_for(ask(), 5))
    except Exception as error:  # noqa: BLE001 - whatever a registry's client raises is a finding
        return Finding(
            "claims",
            "broken",
            f"{where}: {type(error).__name__}: {error}",
            "jobs would be served unverified; fix RUNGUARD_CLAIMS_URL or the server",
        )


def _telemetry() -> list[Finding]:
    from runguard_otel.telemetry.export import metric_exporters, scrape_address, serves_metrics
    from runguard_otel.telemetry.providers import sdk_disabled, traces_wanted

    if sdk_disabled():
        return [Finding("telemetry", "note", "OTEL_SDK_DISABLED: guards act, nothing is emitted")]
    exporters = metric_exporters()
    port = Settings.load().metrics_port
    if port == 0 and not exporters:
        metrics = Finding("metrics", "note", "off (RUNGUARD_METRICS_PORT=0): no trip is exported")
    else:
        ways = [f"{name} (OTEL_* variables)" for name in exporters if name != "prometheus"]
        if serves_metrics(port):
            host, first = scrape_address(port)
            where = "loopback" if host in _LOOPBACK else host
            ways.append(
                f"each worker serves /metrics on {where}, port {first} or the next free one"
            )
        metrics = Finding("metrics", "ok", "; ".join(ways) or "none (OTEL_* variables)")
    own = "exported by us over OTLP" if traces_wanted() else "LiveKit's provider, or the global one"
    return [metrics, Finding("spans", "ok", own), *_otlp(exporters), _block()]


def _notifications() -> list[Finding]:
    """Whom a worker would tell of loops; nothing is sent."""
    from runguard_otel.notify import Address

    settings = Settings.load()
    if not settings.notify_url:
        return []
    try:
        address = Address.of(settings.notify_url, settings.notify_key)
    except SettingsError as error:
        return [
            Finding(
                "notifications", "broken", str(error), "nobody is told of loops; see docs/notify.md"
            )
        ]
    return [Finding("notifications", "ok", f"each worker tells {address.shown} of loops")]


def _otlp(exporters: tuple[str, ...]) -> list[Finding]:
    """Whether each backend takes what it would be sent; asks it with nothing in it."""
    from runguard_otel.telemetry.export import destination, refusal
    from runguard_otel.telemetry.providers import traces_wanted

    found = []
    for signal, wanted in (("metrics", "otlp" in exporters), ("traces", traces_wanted())):
        error = refusal(signal) if wanted else ""
        if error:
            found.append(
                Finding(
                    f"{signal} backend",
                    "degraded",
                    f"{destination(signal)} does not take {signal}: {error}",
                    f"set OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT to a backend that does, or "
                    f"OTEL_{signal.upper()}_EXPORTER=none",
                )
            )
    return found


def _block() -> Finding:
    """How job processes count for their worker on this machine."""
    from runguard_otel.telemetry.hub.block import available

    if available():
        return Finding("job counts", "ok", "in memory that the worker reads")
    what = "sent to the worker one by one: no sealed memory can be shared on this system"
    return Finding("job counts", "note", what)
