"""``console`` with text, with a sound card, and over the wire as ``lk agent console`` runs it."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import struct
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.kit.executors import AGENT, GUARDS, Run, in_a_terminal, running

pytest.importorskip("livekit.agents.cli.tcp_console", reason="since 1.6")
pb = pytest.importorskip("livekit.protocol.agent_pb.agent_session")
pytestmark = [pytest.mark.chain]

NOBODY = "redis://127.0.0.1:1"
"""A registry that cannot be reached: whoever asks it warns."""


async def is_guarded_and_nothing_more(run: Run) -> None:
    """All guards, one line, and not a word about claims, though their registry is down."""
    job = await run.step("job")
    assert (job["guards"], job["token"]) == (GUARDS, 0)
    assert job["pid"] == run.process.pid  # a thread of the process that was started
    await run.step("session")
    modes = "all guards enforce, except session_overrun (observe)"
    on = f"runguard is on: {modes}; no claims and no /metrics in the console"
    assert run.said("runguard is on") == run.said(on) == 1
    assert not run.said("claim registry")
    assert not list(run.temporary.glob("runguard-hub-*"))


async def test_text(tmp_path: Path) -> None:
    environment = {"RG_INSTRUMENT": "main entry", "RG_DO": "session", "RUNGUARD_CLAIMS_URL": NOBODY}
    command = [sys.executable, str(AGENT), "console", "--text"]
    async with in_a_terminal(tmp_path, *command, **environment) as run:
        await is_guarded_and_nothing_more(run)
        await run.until(lambda: run.said("Type to talk to your agent"))
        run.type("Hello there\r")
        await run.until(lambda: run.said("● Agent Of course."))
        await run.ends_cleanly(signal.SIGINT)


async def test_audio(tmp_path: Path) -> None:
    environment = {"RG_INSTRUMENT": "module", "RG_DO": "session", "RUNGUARD_CLAIMS_URL": NOBODY}
    command = [sys.executable, str(AGENT), "console"]
    async with in_a_terminal(tmp_path, *command, **environment) as run:
        await is_guarded_and_nothing_more(run)
        await run.until(lambda: run.said("a card"))  # the microphone is on
        await run.ends_cleanly(signal.SIGINT)


@contextlib.asynccontextmanager
async def desk() -> AsyncIterator[tuple[str, asyncio.Queue[str]]]:
    """The other end of ``lk agent console``: sends silence, and notes what comes back."""
    heard: asyncio.Queue[str] = asyncio.Queue()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frame = pb.AgentSessionMessage.ConsoleIO.AudioFrame(
            data=bytes(960), sample_rate=48_000, num_channels=1, samples_per_channel=480
        )
        silence = pb.AgentSessionMessage(audio_input=frame).SerializeToString()
        writer.write((struct.pack("!I", len(silence)) + silence) * 50)
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                (length,) = struct.unpack("!I", await reader.readexactly(4))
                message = pb.AgentSessionMessage.FromString(await reader.readexactly(length))
                heard.put_nowait(message.WhichOneof("message"))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    host, port = server.sockets[0].getsockname()
    try:
        yield f"{host}:{port}", heard
    finally:
        server.close()


async def test_over_the_wire(tmp_path: Path) -> None:
    environment = {"RG_INSTRUMENT": "module", "RG_DO": "session", "RUNGUARD_CLAIMS_URL": NOBODY}
    command = [sys.executable, "-m", "livekit.agents", "console", str(AGENT), "--connect-addr"]
    async with (
        desk() as (address, heard),
        running(tmp_path, *command, address, **environment) as run,
    ):
        await is_guarded_and_nothing_more(run)
        assert await asyncio.wait_for(heard.get(), 10) == "event"
        # LiveKit starts a runner in reserve, and one that is starting may never end, without us too
        await run.until(lambda: run.said("job runner initialized") >= 2)
        await run.ends_cleanly()
