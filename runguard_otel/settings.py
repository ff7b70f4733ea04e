"""One frozen ``Settings``: explicit argument > ``RUNGUARD_*`` environment variable > default.

The fields below are the only table of settings; ``docs/settings.md`` is generated from them. A bad
environment variable is a warning and the default (a typo in a deployment must not take calls down);
a bad explicit argument raises :class:`~runguard_otel.errors.SettingsError` at once.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.errors import SettingsError

__all__ = ["ENV_PREFIX", "Settings"]

logger = logging.getLogger("runguard_otel")

ENV_PREFIX = "RUNGUARD_"


class Settings(BaseModel):
    """Everything that can be set. Build it with :meth:`load`, which reports errors for people."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    disabled: bool = Field(False, description="Kill switch: nothing is patched at all.")
    mode: Mode = Field(
        Mode.ENFORCE,
        description="How far every guard may go. `observe` counts and reports the same events and "
        "trips and changes nothing.",
    )
    room_reconnect_mode: Mode | None = Field(None, description="`mode` for this guard alone.")
    vad_misfire_mode: Mode | None = Field(None, description="`mode` for this guard alone.")
    job_dispatch_mode: Mode | None = Field(None, description="`mode` for this guard alone.")
    track_subscribe_mode: Mode | None = Field(None, description="`mode` for this guard alone.")

    room_reconnect_limit: int = Field(
        3, ge=2, le=1000, description="Reconnects of one room within the window that are a loop."
    )
    room_reconnect_window_seconds: float = Field(
        60,
        gt=0,
        description="Window of the reconnect guard, in seconds; open, it lets one attempt per "
        "window through, and as much quiet re-arms it.",
    )
    room_reconnect_delete_room: bool = Field(
        False, description="On a trip also delete the room. Ends the call for everyone."
    )

    vad_misfire_limit: int = Field(
        5,
        ge=2,
        le=1000,
        description="Misfires in a row, with no genuine speech between, that trip.",
    )
    vad_misfire_window_seconds: float = Field(
        120, gt=0, description="All of them must lie within this many seconds."
    )
    vad_misfire_min_confidence: float = Field(
        0.6, ge=0, le=1, description="A known confidence below this is a misfire."
    )
    vad_misfire_floor_confidence: float = Field(
        0.3, ge=0, le=1, description="A known confidence below this never reaches the LLM."
    )
    vad_misfire_echo_seconds: float = Field(
        10, gt=0, description="How long the agent's own words are remembered to recognise an echo."
    )
    vad_misfire_raise_activation: float = Field(
        0.2,
        ge=0,
        le=0.5,
        description="How much a trip raises the VAD thresholds until genuine speech is heard.",
    )
    vad_misfire_cooldown_seconds: float = Field(
        10,
        gt=0,
        description="With a realtime model, how long a trip closes the session's audio input. Each "
        "misfire after it opened again closes it for twice as long, up to eight times.",
    )
    vad_misfire_say: str = Field(
        "", description="A sentence the agent says once per session when the guard trips."
    )
    vad_misfire_close_after_trips: int = Field(
        0, ge=0, description="Close the session after this many trips; 0 never closes it."
    )

    track_subscribe_limit: int = Field(
        3, ge=2, le=1000, description="Subscriptions of one source within the window that trip."
    )
    track_subscribe_window_seconds: float = Field(
        30, gt=0, description="Window of the subscription guard, in seconds."
    )
    track_subscribe_linger_seconds: float = Field(
        10,
        ge=0,
        description="How long a shared STT stream that was closed stays open for the next track.",
    )
    track_subscribe_grace_seconds: float = Field(
        0.75,
        ge=0,
        le=5,
        description="How long audio of a new track waits for the end of the source's earlier track "
        "to be announced, before it gets an STT stream of its own.",
    )

    claims_url: str = Field(
        "",
        repr=False,  # it may hold a password
        description="Where claims are kept: `memory://`, `sqlite:///path`, `redis://`, "
        "`postgresql://`, `dynamodb://`. Empty: an SQLite file that all workers of this host and "
        "user share.",
    )
    claims_namespace: str = Field("", description="Keeps deployments on one registry apart.")
    claims_by_metadata: bool = Field(
        False,
        description="Jobs of one agent name with different dispatch metadata are no duplicates, "
        "as of a translator per language.",
    )
    claims_ttl_seconds: float = Field(9, gt=0, description="Lease length of a claim.")
    claims_heartbeat_seconds: float = Field(3, gt=0, description="How often it is renewed.")
    claims_timeout_seconds: float | None = Field(
        None, gt=0, description="Bound on one registry call; empty: 0.25 (DynamoDB: 1)."
    )
    claims_unreachable: Literal["open", "closed"] = Field(
        "open",
        description="Registry unreachable: `open` serves the call unverified, `closed` refuses it.",
    )
    claims_on_superseded: Literal["shutdown", "report"] = Field(
        "shutdown", description="What a job does on proof that another one holds its claim."
    )
    claims_on_expired: Literal["continue", "shutdown"] = Field(
        "continue", description="What a job does when it could not renew its claim in time."
    )
    claims_redis_wait_replicas: int = Field(
        0, ge=0, le=16, description="Replicas that must confirm a grant in Redis before it counts."
    )

    prices: str = Field(
        "", description="A file of prices that replaces rows of ours, see `docs/cost.md`."
    )
    cost_plan: Literal["auto", "ship", "scale", "self_hosted"] = Field(
        "auto",
        description="Whose transport prices hold. `auto`: `ship` for a LiveKit Cloud "
        "`LIVEKIT_URL`, else `self_hosted`.",
    )
    cost_agents: Literal["auto", "self", "cloud"] = Field(
        "auto", description="Who runs the agent: you, or LiveKit Cloud, which bills its minutes."
    )

    hash_salt: str = Field(
        "",
        repr=False,
        description="Salt of the hashes that group rooms and participants on spans. Empty: derived "
        "from `LIVEKIT_API_SECRET`.",
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="Port on which a worker serves `/metrics` for Prometheus (the next free one if "
        "it is taken); 0 never serves it. Empty: 9464, or `OTEL_EXPORTER_PROMETHEUS_PORT`, on "
        "`OTEL_EXPORTER_PROMETHEUS_HOST` (loopback), unless the `OTEL_*` variables ask for another "
        "exporter.",
    )
    export_livekit_spans: bool = Field(
        False,
        description="Also export LiveKit's own spans through the provider runguard uses, when "
        "nobody has set one for LiveKit.",
    )
    max_keys: int = Field(
        10_000, ge=10, description="Rooms or participants tracked at once; the oldest is forgotten."
    )

    @field_validator("mode", *(f"{guard}_mode" for guard in GuardName), mode="before")
    @classmethod
    def _as_people_write_modes(cls, value: Any) -> Any:
        if isinstance(value, str):
            word = value.strip().lower()
            return "off" if word in _OFF else "enforce" if word in _ON else word
        return value

    @classmethod
    def load(cls, base: Settings | None = None, /, **overrides: Any) -> Settings:
        """Read the environment and apply explicit overrides.

        Args:
            base: Taken instead of the environment, as it is.
            **overrides: Field names of this class.

        Raises:
            SettingsError: If an override does not exist or has a value it cannot take.
        """
        overrides = {name: value for name, value in overrides.items() if value is not None}
        for name in overrides:
            if name not in cls.model_fields:
                import difflib  # for a mistake only

                near = difflib.get_close_matches(name, cls.model_fields, n=1)
                hint = f"; did you mean {near[0]!r}?" if near else ""
                raise SettingsError(
                    f"unknown setting {name!r}{hint} All settings: {', '.join(cls.model_fields)}"
                )
        found = base.model_dump() if base is not None else _from_environment(cls.model_fields)
        while True:
            try:
                return cls(**{**found, **overrides})
            except ValidationError as error:
                for problem in error.errors():
                    name = str(problem["loc"][0])
                    value = overrides[name] if name in overrides else found.pop(name)
                    shown = value if cls.model_fields[name].repr else "..."
                    why = f"{problem['msg']}; allowed: {cls.allowed(name)}"
                    if name in overrides:
                        raise SettingsError(f"{name}={shown!r} cannot be used: {why}") from error
                    variable = ENV_PREFIX + name.upper()
                    logger.warning("%s=%r is ignored, using the default: %s", variable, shown, why)

    @classmethod
    def allowed(cls, name: str) -> str:
        """The values a setting takes, in words."""
        field = cls.model_fields[name]
        kind = str(field.annotation)
        if "Mode" in kind:
            return "off, observe, enforce"
        if "Literal" in kind:
            return kind.partition("[")[2].rstrip("]").replace("'", "")
        if "bool" in kind:
            return "true, false"
        number = "number" if "float" in kind else "whole number" if "int" in kind else "text"
        bounds = [
            f"{sign} {getattr(rule, bound):g}"
            for rule in field.metadata
            for bound, sign in (("ge", ">="), ("gt", ">"), ("le", "<="), ("lt", "<"))
            if hasattr(rule, bound)
        ]
        return ", ".join([number, *bounds])

    @classmethod
    def table(cls) -> list[tuple[str, str, str, str, str]]:
        """One row per setting: name, environment variable, allowed values, default, meaning."""
        return [
            (
                name,
                ENV_PREFIX + name.upper(),
                cls.allowed(name),
                "" if field.default in (None, "") else str(field.default),
                field.description or "",
            )
            for name, field in cls.model_fields.items()
        ]

    def values(self) -> dict[str, Any]:
        """All settings as plain values that travel by pickle; ``Settings(**values)`` is the same.

        All, not only what differs from the defaults: where they are read again, the environment
        must not say otherwise.
        """
        return self.model_dump(mode="json")

    def overrides(self) -> dict[str, Any]:
        """The settings that differ from the defaults, as plain values."""
        return self.model_dump(mode="json", exclude_defaults=True)

    def mode_of(self, guard: GuardName) -> Mode:
        """The mode of one guard: its own, else the common one."""
        own: Mode | None = getattr(self, f"{guard}_mode")
        return own if own is not None else self.mode


_OFF = ("0", "false", "no", "disabled")
_ON = ("1", "true", "yes", "on", "enabled")


def _from_environment(names: Iterable[str]) -> dict[str, Any]:
    return {
        name: value
        for name in names
        if (value := os.environ.get(ENV_PREFIX + name.upper(), "").strip())
    }
