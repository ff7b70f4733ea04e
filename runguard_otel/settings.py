"""One frozen ``Settings``: explicit argument > ``RUNGUARD_*`` environment variable > default.

The fields below are the only table of settings; ``docs/settings.md`` is generated from them. A bad
environment variable is a warning and the default (a typo in a deployment must not take calls down);
a bad explicit argument raises :class:`~runguard_otel.errors.SettingsError` at once. Where a mode
cannot be read, or the name of a variable is misspelt, somebody wanted something else than the
default: until it is right, guards observe and do not act.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.errors import SettingsError

if TYPE_CHECKING:
    from typing_extensions import Unpack

    from runguard_otel.settings_types import SettingsOverrides

__all__ = ["ENV_PREFIX", "Settings", "misspelt"]

logger = logging.getLogger("runguard_otel")

ENV_PREFIX = "RUNGUARD_"
_LETTERS = ENV_PREFIX.rstrip("_")
HOUR, DAY = 3600, 86_400  # seconds; a longer window, or an endless one, is a slip


_MODES = ("mode", *(f"{guard}_mode" for guard in GuardName))


class Settings(BaseModel):
    """Everything that can be set. Build it with :meth:`load`, which reports errors for people."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    if TYPE_CHECKING:
        # Checkers would take the fields' own types: `mode="observe"` is right, too.
        def __init__(self, **settings: Unpack[SettingsOverrides]) -> None: ...

    disabled: bool = Field(default=False, description="Kill switch: nothing is patched at all.")
    mode: Mode = Field(
        default=Mode.ENFORCE,
        description="How far every guard may go. `observe` counts and reports the same events and "
        "trips and changes nothing.",
    )
    room_reconnect_mode: Mode | None = Field(
        default=None, description="`mode` for this guard alone."
    )
    vad_misfire_mode: Mode | None = Field(default=None, description="`mode` for this guard alone.")
    job_dispatch_mode: Mode | None = Field(default=None, description="`mode` for this guard alone.")
    track_subscribe_mode: Mode | None = Field(
        default=None, description="`mode` for this guard alone."
    )
    session_overrun_mode: Mode | None = Field(
        default=None,
        description="How far this guard may go. It ends jobs, so it acts only if it is told here: "
        "empty is `observe`, or `off` where `mode` is.",
    )

    room_reconnect_limit: int = Field(
        default=3,
        ge=2,
        le=1000,
        description="Reconnects of one room within the window that are a loop.",
    )
    room_reconnect_window_seconds: float = Field(
        default=60,
        gt=0,
        le=DAY,
        description="Window of the reconnect guard, in seconds; open, it lets one attempt per "
        "window through, and as much quiet re-arms it.",
    )
    room_reconnect_redial_limit: int = Field(
        default=10,
        ge=2,
        le=1000,
        description="Redials of one room within the window that are a loop: connects after the "
        "application left the room by itself.",
    )
    room_reconnect_delete_room: bool = Field(
        default=False, description="On a trip also delete the room. Ends the call for everyone."
    )

    vad_misfire_limit: int = Field(
        default=5,
        ge=2,
        le=1000,
        description="Misfires in a row, with no genuine speech between, that trip.",
    )
    vad_misfire_window_seconds: float = Field(
        default=120, gt=0, le=DAY, description="All of them must lie within this many seconds."
    )
    vad_misfire_min_confidence: float = Field(
        default=0.6, ge=0, le=1, description="A known confidence below this is a misfire."
    )
    vad_misfire_floor_confidence: float = Field(
        default=0.3, ge=0, le=1, description="A known confidence below this never reaches the LLM."
    )
    vad_misfire_echo_seconds: float = Field(
        default=10,
        gt=0,
        le=DAY,
        description="How long the agent's own words are remembered to recognise an echo.",
    )
    vad_misfire_raise_activation: float = Field(
        default=0.2,
        ge=0,
        le=0.5,
        description="How much a trip raises the VAD thresholds until genuine speech is heard, or "
        "for `vad_misfire_bound_seconds`.",
    )
    vad_misfire_cooldown_seconds: float = Field(
        default=10,
        gt=0,
        le=DAY,
        description="With a realtime model, how long a trip closes the session's audio input. Each "
        "misfire after it opened again closes it for twice as long, up to eight times, and never "
        "for longer than `vad_misfire_bound_seconds`.",
    )
    vad_misfire_bound_seconds: float = Field(
        default=15,
        gt=0,
        le=DAY,
        description="The longest time that a microphone is kept closed or a VAD threshold raised, "
        "whatever the session's state says.",
    )
    vad_misfire_duplicate_seconds: float = Field(
        default=1,
        ge=0,
        le=60,
        description="A final result with the words of the last one, within this time and with no "
        "voice between, is the same utterance again and never reaches the LLM; 0: every result "
        "may.",
    )
    vad_misfire_say: str = Field(
        default="", description="A sentence the agent says once per session when the guard trips."
    )
    vad_misfire_close_after_trips: int = Field(
        default=0,
        ge=0,
        le=1000,
        description="Close the session after this many trips; 0 never closes it.",
    )

    track_subscribe_limit: int = Field(
        default=3,
        ge=2,
        le=1000,
        description="Subscriptions of one source within the window that trip.",
    )
    track_subscribe_window_seconds: float = Field(
        default=30, gt=0, le=DAY, description="Window of the subscription guard, in seconds."
    )
    track_subscribe_linger_seconds: float = Field(
        default=10,
        ge=0,
        le=DAY,
        description="How long a shared STT stream that was closed stays open for the next track.",
    )
    track_subscribe_grace_seconds: float = Field(
        default=0.75,
        ge=0,
        le=5,
        description="How long audio of a new track waits for the end of the source's earlier track "
        "to be announced, before it gets an STT stream of its own.",
    )

    session_overrun_left_seconds: float = Field(
        default=30,
        ge=0,
        le=DAY,
        description="How long an agent may be connected after its last caller has left; 0 never "
        "minds.",
    )
    session_overrun_unmet_seconds: float = Field(
        default=120,
        ge=0,
        le=DAY,
        description="How long an agent may be connected if no caller has come yet; 0 never minds.",
    )
    session_overrun_silent_seconds: float = Field(
        default=600,
        ge=0,
        le=DAY,
        description="How long a caller who could be heard may be there with nothing said, typed, "
        "pressed or asked for; 0 never minds.",
    )
    session_overrun_say: str = Field(
        default="", description="A sentence to say before a session is closed for its silence."
    )
    session_overrun_close_seconds: float = Field(
        default=30,
        ge=0,
        le=DAY,
        description="How long what was told to end may take: a session, a job, what is left of a "
        "room; 0 never minds.",
    )
    session_overrun_stt_reconnects: int = Field(
        default=5,
        ge=0,
        le=1000,
        description="Connections of one STT stream within 120 s, with no genuine speech between, "
        "that trip; 0 counts none.",
    )
    session_overrun_stt_reconnects_at_all: int = Field(
        default=30,
        ge=0,
        le=1000,
        description="Connections of one STT stream within 10 minutes that trip whatever it heard; "
        "0 counts none.",
    )
    session_overrun_session_seconds: float = Field(
        default=0, ge=0, le=7 * DAY, description="How old a session may get; 0: as old as it likes."
    )

    claims_url: str = Field(
        default="",
        repr=False,  # it may hold a password
        description="Where claims are kept: `memory://`, `sqlite:///path`, `redis://`, "
        "`postgresql://`, `dynamodb://`. Empty: an SQLite file that all workers of this host and "
        "user share.",
    )
    claims_namespace: str = Field(
        default="", description="Keeps deployments on one registry apart."
    )
    claims_by_metadata: bool = Field(
        default=False,
        description="Jobs of one agent name with different dispatch metadata are no duplicates, "
        "as of a translator per language.",
    )
    claims_ttl_seconds: float = Field(
        default=9, gt=0, le=HOUR, description="Lease length of a claim."
    )
    claims_heartbeat_seconds: float = Field(
        default=3, gt=0, le=HOUR, description="How often it is renewed."
    )
    claims_timeout_seconds: float | None = Field(
        default=None,
        gt=0,
        le=60,
        description="Bound on one registry call; empty: 0.25 (DynamoDB: 1).",
    )
    claims_unreachable: Literal["open", "closed"] = Field(
        default="open",
        description="Registry unreachable: `open` serves the call unverified, `closed` refuses it.",
    )
    claims_on_superseded: Literal["shutdown", "report"] = Field(
        default="shutdown", description="What a job does on proof that another one holds its claim."
    )
    claims_on_expired: Literal["continue", "shutdown"] = Field(
        default="continue", description="What a job does when it could not renew its claim in time."
    )
    claims_redis_wait_replicas: int = Field(
        default=0,
        ge=0,
        le=16,
        description="Replicas that must confirm a grant in Redis before it counts.",
    )

    prices: str = Field(
        default="", description="A file of prices that replaces rows of ours, see `docs/cost.md`."
    )
    cost_plan: Literal["auto", "ship", "scale", "self_hosted"] = Field(
        default="auto",
        description="Whose transport prices hold. `auto`: `ship` for a LiveKit Cloud "
        "`LIVEKIT_URL`, else `self_hosted`.",
    )
    cost_agents: Literal["auto", "self", "cloud"] = Field(
        default="auto",
        description="Who runs the agent: you, or LiveKit Cloud, which bills its minutes.",
    )

    journal: str = Field(
        default="",
        description="A folder in which the history of every call is kept, a file per job, for "
        "`runguard-otel timeline`, `replay` and `advise`. No words of people, no names. Empty: "
        "none is kept. See [the journal](journal.md).",
    )
    journal_megabytes: float = Field(
        default=200,
        ge=1,
        le=1_000_000,
        description="How large that folder may get; the oldest histories are removed first.",
    )
    journal_days: float = Field(default=14, gt=0, le=3660, description="How old a history may get.")

    hash_salt: str = Field(
        default="",
        repr=False,
        description="Salt of the hashes that group rooms and participants on spans. Empty: derived "
        "from `LIVEKIT_API_SECRET`.",
    )
    metrics_port: int | None = Field(
        default=None,
        ge=0,
        le=65535,
        description="Port on which a worker serves `/metrics` for Prometheus (the next free one if "
        "it is taken); 0 never serves it. Empty: 9464, or `OTEL_EXPORTER_PROMETHEUS_PORT`, on "
        "`OTEL_EXPORTER_PROMETHEUS_HOST` (loopback), unless the `OTEL_*` variables ask for another "
        "exporter.",
    )
    notify_url: str = Field(
        default="",
        repr=False,
        description="Whom a worker tells of loops by itself, where no Alertmanager does: "
        "`pagerduty://`, `pagerduty://events.eu.pagerduty.com`, Slack's address of an incoming "
        "webhook, any other `https://` address, or `file:///path` of a file that holds one. Empty: "
        "nobody. See [notifications](notify.md).",
    )
    notify_key: str = Field(
        default="",
        repr=False,
        description="PagerDuty's integration key, or the bearer token of a webhook, or "
        "`file:///path` of a file that holds it.",
    )
    export_livekit_spans: bool = Field(
        default=False,
        description="Also export LiveKit's own spans through the provider runguard uses, when "
        "none is set for LiveKit.",
    )
    max_keys: int = Field(
        default=10_000,
        ge=10,
        le=10_000_000,
        description="Rooms or participants tracked at once; the oldest is forgotten.",
    )

    @field_validator("*", mode="before")
    @classmethod
    def _text_is_text(cls, value: Any) -> Any:
        if isinstance(value, (bytes, bytearray)):
            raise ValueError("pass text, not bytes")
        if isinstance(value, str) and "\0" in value:
            raise ValueError("no setting has a NUL character in it")
        return value

    @field_validator(*_MODES, mode="before")
    @classmethod
    def _as_people_write_modes(cls, value: Any) -> Any:
        if isinstance(value, str):
            word = value.strip().lower()
            return "off" if word in _OFF else "enforce" if word in _ON else word
        return value

    @classmethod
    def load(
        cls, base: Settings | None = None, /, **overrides: Unpack[SettingsOverrides]
    ) -> Settings:
        """Read the environment and apply explicit overrides.

        Args:
            base: Taken instead of the environment, as it is.
            **overrides: Field names of this class.

        Raises:
            SettingsError: If an override does not exist or has a value it cannot take.
        """
        given: dict[str, Any] = {n: v for n, v in overrides.items() if v is not None}
        for name in given:
            if name not in cls.model_fields:
                near = _nearest(name, cls.model_fields)
                all_of_them = f"one of {', '.join(cls.model_fields)}"
                hint = f"did you mean {near!r}?" if near else all_of_them
                raise SettingsError(f"unknown setting {name!r}; {hint}")
        found = base.model_dump() if base is not None else _from_environment(cls.model_fields)
        slips = misspelt() if base is None else {}
        for name, near in slips.items():
            meant = f"; did you mean {near}? Until it is right, guards observe only" if near else ""
            logger.warning("%s is no setting and nothing reads it%s", name, meant)
        if any(slips.values()):
            found.update(_watching(found))
        while True:
            try:
                return cls(**{**found, **given})
            except ValidationError as error:
                for problem in error.errors():
                    name = str(problem["loc"][0])
                    value = given[name] if name in given else found.pop(name)
                    instead = "using the default"
                    if name == "disabled":
                        found.update(_watching(found))
                    elif name in _MODES:
                        found[name] = Mode.OBSERVE
                    if name in ("disabled", *_MODES):
                        instead = "observing until it is right"
                    shown = value if cls.model_fields[name].repr else "..."
                    why = f"{problem['msg']}; allowed: {cls.allowed(name)}"
                    if name in given:
                        raise SettingsError(f"{name}={shown!r} cannot be used: {why}") from error
                    variable = ENV_PREFIX + name.upper()
                    logger.warning("%s=%r is ignored, %s: %s", variable, shown, instead, why)

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
        """The mode of one guard: its own, else the common one.

        What ends jobs does not act because everything else may: it has to be told.
        """
        own: Mode | None = getattr(self, f"{guard}_mode")
        if own is not None:
            return own
        if guard is GuardName.SESSION_OVERRUN and self.mode is Mode.ENFORCE:
            return Mode.OBSERVE
        return self.mode


_OFF = ("0", "false", "no", "disabled")
_ON = ("1", "true", "yes", "on", "enabled")


def _from_environment(names: Iterable[str]) -> dict[str, Any]:
    return {
        name: value
        for name in names
        if (value := os.environ.get(ENV_PREFIX + name.upper(), "").strip())
    }


def misspelt() -> dict[str, str]:
    """The variables that name no setting, each with the one it resembles or ``""``.

    Those that begin with ``RUNGUARD_``, and those that were meant to: ``RUNGARD_MODE``. A typo in a
    name is as silent as one in a value, and hides what somebody wanted.
    """
    known = [name.upper() for name in Settings.model_fields]
    found = {}
    for name in sorted(os.environ):
        word = name.removeprefix(ENV_PREFIX)
        if word != name and word not in known:
            meant = _nearest(word, known)
            found[name] = ENV_PREFIX + meant if meant else ""
        elif word == name and _begins_like_ours(name):
            meant = _nearest(name.upper(), (ENV_PREFIX + one for one in known), 0.92)
            found |= {name: meant} if meant else {}
    return found


def _begins_like_ours(name: str) -> bool:
    """Whether six of the eight letters are there.

    ``RUST_BACKTRACE`` and ``RUNNER_OS`` are somebody else's. To compare them with every setting
    costs a job process 2 MiB, ``difflib`` and its work; so does 1 MiB a ``Counter``, which asks
    whether text is a ``Mapping``, for which every class that could be one is looked at.
    """
    begin = name[: len(ENV_PREFIX)].upper()
    if not begin.startswith("RU"):
        return False
    return sum(min(begin.count(one), _LETTERS.count(one)) for one in set(begin)) >= 6


def _nearest(name: str, known: Iterable[str], cutoff: float = 0.75) -> str:
    import difflib  # for a mistake only

    return next(iter(difflib.get_close_matches(name, sorted(known), n=1, cutoff=cutoff)), "")


def _watching(found: dict[str, Any]) -> dict[str, Any]:
    """Modes that act on nothing: what was to be off stays off, the rest observes."""
    stated = {name: found[name] for name in _MODES if name in found}
    off = {n: v for n, v in stated.items() if str(v).strip().lower() in ("off", *_OFF)}
    return {"mode": Mode.OBSERVE, **dict.fromkeys(stated, Mode.OBSERVE), **off}
