"""livekit-agents 0.12: the VoicePipelineAgent, guarded by the same line.

0.12 asks its LLM about every noise (`<continue>`), and opens an STT stream for every track.
"""

from __future__ import annotations

from livekit.agents import AutoSubscribe, JobContext, WorkerOptions, cli, llm
from livekit.agents.pipeline import VoicePipelineAgent
from livekit.plugins import cartesia, deepgram, openai, silero

import runguard_otel

runguard_otel.instrument()


async def entrypoint(ctx: JobContext) -> None:
    """Serve one room."""
    await ctx.connect(auto_subscribe=AutoSubscribe.AUDIO_ONLY)
    caller = await ctx.wait_for_participant()
    instructions = "You take bookings for a small restaurant. Be brief."
    agent = VoicePipelineAgent(
        vad=silero.VAD.load(),
        stt=deepgram.STT(),
        llm=openai.LLM(model="gpt-4.1-mini"),
        tts=cartesia.TTS(),
        chat_ctx=llm.ChatContext().append(role="system", text=instructions),
    )
    agent.start(ctx.room, caller)
    await agent.say("Good evening, how can I help?", allow_interruptions=True)


if __name__ == "__main__":
    cli.run_app(WorkerOptions(entrypoint_fnc=entrypoint))
