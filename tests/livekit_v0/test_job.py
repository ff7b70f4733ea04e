"""A whole job of 0.12 under ``instrument()``, in the host's own job runner."""

from __future__ import annotations

import asyncio
import importlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

import runguard_otel
from runguard_otel.testing.jobs import job_info
from runguard_otel.testing.listening import ScriptedSTT, final
from runguard_otel.testing.speaking import ScriptedTTS
from runguard_otel.testing.voice_activity import ScriptedVAD
from tests.kit.v0_call import CALLER, ROOM, Stage, settle, until
from tests.kit.v0_models import HAS_V0, PipelineLLM

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


class Worker:
    """The other end of a job process's pipe."""

    def __init__(self) -> None:
        self.messages: list[Any] = []

    async def send(self, message: Any) -> None:
        self.messages.append(message)


async def run_job(stage: Stage, entrypoint: Any) -> None:
    host: Any = importlib.import_module("livekit.agents.ipc.job_proc_lazy_main")
    runner = host._JobProc(lambda _: None, entrypoint)
    runner._client, runner._inf_client = Worker(), None
    runner._shutdown_fut = asyncio.get_running_loop().create_future()
    runner._exit_proc_flag = asyncio.Event()
    runner._start_job(SimpleNamespace(running_job=job_info(stage, ROOM)))
    await runner._job_task


async def test_a_job_is_claimed_guarded_and_lets_its_room_go(tmp_path: Path) -> None:
    stt, llm = ScriptedSTT(), PipelineLLM()
    tokens: list[int] = []

    async def entrypoint(ctx: Any) -> None:
        claim = runguard_otel.current_claim()
        tokens.append(claim.token if claim else 0)
        await ctx.connect()
        pipeline: Any = importlib.import_module("livekit.agents.pipeline")
        agent = pipeline.VoicePipelineAgent(
            vad=ScriptedVAD(),
            stt=stt,
            llm=llm,
            tts=ScriptedTTS(seconds_per_character=0.001),
            min_endpointing_delay=0.0,
        )
        agent.start(ctx.room, CALLER)
        stage.publish(ROOM, CALLER)
        await settle(0.02)
        for text in ("", "", "", "", "", "a table for two please"):
            stt.send(final(text, 0.9 if text else 0.0))
            await settle()
        await until(lambda: bool(llm.calls), "the user is answered")
        ctx.shutdown("done")

    guard = runguard_otel.instrument(claims_url=f"sqlite://{tmp_path}/claims.sqlite3")
    stage = Stage()
    try:
        with stage:
            stage.join(ROOM, CALLER)
            for _ in range(2):
                await run_job(stage, entrypoint)
        counted = guard.snapshot()
    finally:
        runguard_otel.uninstrument()
    assert llm.calls == ["a table for two please"] * 2
    assert tokens[1] > tokens[0] > 0, "the first job has released its claim"
    signatures = counted["signatures"]
    assert signatures == {
        **signatures,
        "job_claim:acquired": {"allowed": 2},
        "job_claim:released": {"allowed": 2},
        "vad_misfire:empty_transcript": {"suppressed": 10},
    }
    assert counted["trips"] == 2
    assert "runguard.claim" in stage.attributes, "the fence: who serves is told in the room"
