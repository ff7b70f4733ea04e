# Generated from runguard_otel/settings.py by `make generate`. Do not edit.
"""The settings as keyword arguments, for type checkers. ``docs/settings.md`` explains them."""

from __future__ import annotations

from typing import Literal, TypedDict

from runguard_otel.core.verdict import Mode

__all__ = ["ModeName", "SettingsOverrides"]

ModeName = Literal["off", "observe", "enforce"]
"""How a mode is written in an argument or in a variable."""


class SettingsOverrides(TypedDict, total=False):
    """Any field of :class:`~runguard_otel.Settings`."""

    disabled: bool
    mode: Mode | ModeName
    room_reconnect_mode: Mode | ModeName | None
    vad_misfire_mode: Mode | ModeName | None
    job_dispatch_mode: Mode | ModeName | None
    track_subscribe_mode: Mode | ModeName | None
    session_overrun_mode: Mode | ModeName | None
    room_reconnect_limit: int
    room_reconnect_window_seconds: float
    room_reconnect_redial_limit: int
    room_reconnect_delete_room: bool
    vad_misfire_limit: int
    vad_misfire_window_seconds: float
    vad_misfire_min_confidence: float
    vad_misfire_floor_confidence: float
    vad_misfire_echo_seconds: float
    vad_misfire_raise_activation: float
    vad_misfire_cooldown_seconds: float
    vad_misfire_bound_seconds: float
    vad_misfire_duplicate_seconds: float
    vad_misfire_say: str
    vad_misfire_close_after_trips: int
    track_subscribe_limit: int
    track_subscribe_window_seconds: float
    track_subscribe_linger_seconds: float
    track_subscribe_grace_seconds: float
    session_overrun_left_seconds: float
    session_overrun_unmet_seconds: float
    session_overrun_silent_seconds: float
    session_overrun_say: str
    session_overrun_close_seconds: float
    session_overrun_stt_reconnects: int
    session_overrun_stt_reconnects_at_all: int
    session_overrun_session_seconds: float
    claims_url: str
    claims_namespace: str
    claims_by_metadata: bool
    claims_ttl_seconds: float
    claims_heartbeat_seconds: float
    claims_timeout_seconds: float | None
    claims_unreachable: Literal["open", "closed"]
    claims_on_superseded: Literal["shutdown", "report"]
    claims_on_expired: Literal["continue", "shutdown"]
    claims_redis_wait_replicas: int
    prices: str
    cost_plan: Literal["auto", "ship", "scale", "self_hosted"]
    cost_agents: Literal["auto", "self", "cloud"]
    journal: str
    journal_megabytes: float
    journal_days: float
    hash_salt: str
    metrics_port: int | None
    notify_url: str
    notify_key: str
    export_livekit_spans: bool
    max_keys: int
