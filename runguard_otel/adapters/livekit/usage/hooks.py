"""Every place we touch to know what was used: requests, STT streams, connections."""

from __future__ import annotations

from runguard_otel.adapters.hooks import Hooks
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.livekit.usage.connections import Connections
from runguard_otel.adapters.livekit.usage.requests import Requests
from runguard_otel.adapters.livekit.usage.streams import Streams
from runguard_otel.adapters.livekit.usage.unreported import Unreported
from runguard_otel.adapters.patching import Patch
from runguard_otel.core.ports import Recorder, UsagePort

__all__ = ["connection_rows", "patches", "stream_rows"]


def patches(services: Services) -> list[Patch]:
    """The table; streams are counted even when nothing is priced."""
    hooks = Hooks(services.recorder, "telemetry")
    rows: list[Patch] = []
    if services.usage is not None:
        requests = Requests(services.usage)
        rows += [
            hooks.written(
                "livekit.agents.voice.agent_activity:AgentActivity",
                "_on_metrics_collected",
                requests.in_session,
                listens=True,
                why="Sees the usage of every STT, LLM and TTS request once, with provider and "
                "model.",
            ),
            hooks.around(
                "livekit.agents:AgentSession",
                "start",
                requests.session_starts,
                why="Knows what a session asks for.",
            ),
            # after: an adapter hands the same object on
            *(
                hooks.written(
                    f"livekit.agents.{component}:{component.upper()}",
                    "emit",
                    requests.emitting(component),
                    why="Sees the requests that are made outside of a session.",
                )
                for component in ("llm", "stt", "tts")
            ),
            *unreported_rows(hooks, services.usage, services.recorder),
            *connection_rows(hooks, Connections(services.usage)),
        ]
    return rows + stream_rows(hooks, Streams(services))


def unreported_rows(hooks: Hooks, port: UsagePort, recorder: Recorder) -> list[Patch]:
    """Requests that are given up before the host measures them."""
    watched = {
        "livekit.agents.llm:LLMStream": Unreported(port, recorder, "llm"),
        "livekit.agents.tts:ChunkedStream": Unreported(port, recorder, "tts"),
        "livekit.agents.tts:SynthesizeStream": Unreported(port, recorder, "tts"),
    }
    rows: list[Patch] = []
    for stream, requests in watched.items():
        rows += [
            hooks.written(
                stream, "__init__", requests.opening, why="Knows what was asked of a provider."
            ),
            hooks.written(
                stream,
                "_metrics_monitor_task",
                requests.measuring,
                why="Knows which requests the host did not measure: they are billed, too.",
            ),
        ]
    recognise = Unreported(port, recorder, "stt").recognising
    why = "Counts recognitions that were given up: they are billed, too."
    return [*rows, hooks.around("livekit.agents.stt:STT", "recognize", recognise, why=why)]


def connection_rows(hooks: Hooks, connections: Connections) -> list[Patch]:
    """How long each room was connected."""
    room = "livekit.rtc:Room"
    return [
        hooks.after(room, "connect", connections.connected, why="Connection minutes start."),
        hooks.before(room, "emit", connections.event, why="Connection minutes end."),
    ]


def stream_rows(hooks: Hooks, streams: Streams) -> list[Patch]:
    """What providers bill of STT streams; it only watches."""
    stream = "livekit.agents.stt:RecognizeStream"
    return [
        hooks.after(stream, "__init__", streams.opened, why="Open STT streams, which are billed."),
        hooks.flat(
            stream,
            "push_frame",
            ("frame",),
            streams.pushing,
            otherwise=streams.heard,
            why="The audio that goes into them.",
        ),
    ]
