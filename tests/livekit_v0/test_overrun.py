"""What goes on too long on 0.12: rooms, jobs and recogniser streams; there are no sessions."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from livekit.agents import APIConnectionError, APIConnectOptions, stt

from runguard_otel.core.verdict import Mode
from runguard_otel.testing.listening import ScriptedSTT
from tests.kit.overrun import come, connected, go, on_stage
from tests.kit.v0_models import HAS_V0

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_V0, reason="needs livekit-agents 0.12, see docs/livekit-0.12.md"),
]


async def test_an_agent_alone_is_asked_to_shut_down() -> None:
    with on_stage(Mode.ENFORCE) as stage:
        room = await connected(stage)
        await come(stage)
        stage.wait(600)  # a caller who says nothing: 0.12 has no session that would know
        await go(stage)
        stage.wait(29)
        assert stage.tripped == []
        stage.wait(1)
        assert stage.tripped == ["session_overrun:agent_alone"]
        await asyncio.sleep(0.01)
        assert stage.asked == ["runguard: session_overrun:agent_alone"]
        await room.disconnect()


async def test_a_job_that_was_asked_to_end_and_has_not() -> None:
    with on_stage(Mode.ENFORCE) as stage:
        asked: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        proc: Any = SimpleNamespace(_job_ctx=stage.job, _shutdown_fut=asked)

        async def host() -> None:
            await asyncio.sleep(3600)

        running = asyncio.create_task(stage.guard.run_job(host, proc, (), {}))
        await asyncio.sleep(0)
        asked.set_result(SimpleNamespace(reason="user requested"))
        await asyncio.sleep(0)
        await asyncio.to_thread(stage.wait, 30)
        assert stage.tripped == ["session_overrun:close_hung"]
        assert stage.lifecycle.outcomes == ["hung"]
        running.cancel()


class _Closed(stt.RecognizeStream):
    async def _run(self) -> None:
        raise APIConnectionError("closed by the provider")


async def test_a_recogniser_that_reconnects_again_and_again() -> None:
    with on_stage(Mode.ENFORCE) as stage:
        often = APIConnectOptions(max_retry=20, retry_interval=0.0, timeout=10)
        stream = _Closed(stt=ScriptedSTT(), conn_options=often)
        with pytest.raises(APIConnectionError, match="runguard"):
            async for _ in stream:
                pass
        assert stage.tripped == ["session_overrun:stt_reconnect"]
        await stream.aclose()
