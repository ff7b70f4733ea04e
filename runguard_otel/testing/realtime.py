"""A scripted realtime model: it hears audio, answers by voice and counts what it would bill.

With ``server_turns`` it finds voices in the audio itself and answers each of them, asked or not, as
hosted models do. Without, it answers when the client commits the audio and asks for a reply.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Iterable
from typing import Any

from livekit import rtc
from livekit.agents import llm

from runguard_otel.testing.rate import SAMPLE_RATE
from runguard_otel.testing.responses import Heard, Response, known

__all__ = ["ScriptedRealtimeModel", "ScriptedRealtimeSession"]

CHUNK_SECONDS = 0.1


class ScriptedRealtimeModel(llm.RealtimeModel):
    """A realtime model that does what it is told.

    Args:
        script: What it hears in each voice, in order; after them it hears nothing.
        answer: What it says every time.
        server_turns: Whether it takes turns itself.
        transcribes: Whether it reports what it heard.
        transcript_first: Whether it does so before it begins to answer.
        seconds_per_character: How long a character takes to say.
        speed: How many seconds of speech it makes in one second.
    """

    def __init__(
        self,
        script: Iterable[Heard] = (),
        *,
        answer: str = "I am here.",
        server_turns: bool = True,
        transcribes: bool = True,
        transcript_first: bool = False,
        seconds_per_character: float = 0.06,
        speed: float = 20.0,
    ) -> None:
        super().__init__(
            capabilities=llm.RealtimeCapabilities(
                **known(
                    llm.RealtimeCapabilities,
                    message_truncation=False,
                    turn_detection=server_turns,
                    user_transcription=transcribes,
                    auto_tool_reply_generation=False,
                    audio_output=True,
                    manual_function_calls=False,
                )
            )
        )
        self.script: deque[Heard] = deque(script)
        self.answer = answer
        self.transcript_first = transcript_first
        self.answer_seconds = seconds_per_character * len(answer)
        self.speed = speed
        self.sessions: list[ScriptedRealtimeSession] = []

    @property
    def provider(self) -> str:
        """The vendor's name."""
        return "scripted"

    @property
    def model(self) -> str:
        """The model's name."""
        return "scripted-realtime"

    @property
    def responses(self) -> list[Response]:
        """Every answer it began."""
        return [response for session in self.sessions for response in session.responses]

    @property
    def spoken_seconds(self) -> float:
        """Audio made in all answers, in seconds."""
        return sum(response.seconds for response in self.responses)

    @property
    def heard_seconds(self) -> float:
        """Audio heard in all sessions, in seconds."""
        return sum(session.seconds for session in self.sessions)

    def session(self, **_: Any) -> ScriptedRealtimeSession:
        """Open a session; it is kept in ``sessions``."""
        opened = ScriptedRealtimeSession(self)
        self.sessions.append(opened)
        return opened

    async def aclose(self) -> None:
        """Nothing to close but sessions, and the host does that."""


class ScriptedRealtimeSession(llm.RealtimeSession[Any]):
    """One connection to the model.

    Args:
        model: The model.
    """

    def __init__(self, model: ScriptedRealtimeModel) -> None:
        super().__init__(model)
        self._model = model
        self._chat_ctx = llm.ChatContext.empty()
        self._tools = llm.ToolContext.empty()
        self._voice = 0.0
        self._items = 0
        self._committed: Heard | None = None
        self.responses: list[Response] = []
        self.seconds = 0.0
        self.commits = 0
        self.clears = 0

    @property
    def chat_ctx(self) -> llm.ChatContext:
        """The conversation as the model has it."""
        return self._chat_ctx

    @property
    def tools(self) -> llm.ToolContext:
        """What the model may call."""
        return self._tools

    async def update_instructions(self, instructions: str) -> None:
        """Taken, and ignored."""

    async def update_chat_ctx(self, chat_ctx: llm.ChatContext) -> None:
        """Take over the host's conversation."""
        self._chat_ctx = chat_ctx.copy()

    async def update_tools(self, tools: list[Any]) -> None:
        """Take over the host's tools."""
        self._tools = llm.ToolContext(tools)

    def update_options(self, **_: Any) -> None:
        """Taken, and ignored."""

    def push_video(self, frame: rtc.VideoFrame) -> None:
        """Blind."""

    def push_audio(self, frame: rtc.AudioFrame) -> None:
        """Listen; where the model takes turns, silence after a voice ends the user's."""
        self.seconds += frame.duration
        loud = any(frame.data)
        server = self._model.capabilities.turn_detection
        if loud and not self._voice and server:
            self.emit("input_speech_started", llm.InputSpeechStartedEvent())
        if loud:
            self._voice += frame.duration
        elif self._voice and server:
            self._voice = 0.0
            stopped = llm.InputSpeechStoppedEvent(
                user_transcription_enabled=self._model.capabilities.user_transcription
            )
            self.emit("input_speech_stopped", stopped)
            self._understand()

    def commit_audio(self) -> None:
        """The client ends the user's turn."""
        self.commits += 1
        self._voice = 0.0
        heard = self._next()
        if self._model.transcript_first:
            self._report(heard)
        else:
            self._committed = heard

    def clear_audio(self) -> None:
        """Forget what was not committed."""
        self.clears += 1
        self._voice = 0.0

    def generate_reply(self, **_: Any) -> asyncio.Future[llm.GenerationCreatedEvent]:
        """Answer because the client asked."""
        asked: asyncio.Future[llm.GenerationCreatedEvent] = asyncio.Future()
        asked.set_result(self._respond(asked=True))
        if self._committed is not None:
            heard, self._committed = self._committed, None
            asyncio.get_running_loop().call_soon(self._report, heard)
        return asked

    def interrupt(self) -> None:
        """Stop the running answer."""
        for response in self.responses:
            if response.running and response.pump is not None:
                response.cancelled = True
                response.pump.cancel()

    def truncate(self, **_: Any) -> None:
        """Taken, and ignored."""

    async def aclose(self) -> None:
        """Hang up."""
        pumps = [r.pump for r in self.responses if r.pump is not None]
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)

    def _next(self) -> Heard:
        return self._model.script.popleft() if self._model.script else Heard("")

    def _understand(self) -> None:
        heard = self._next()
        if self._model.transcript_first:
            self._report(heard)
        self._respond(asked=False, call=heard.call)
        if not self._model.transcript_first:
            self._report(heard)

    def _report(self, heard: Heard) -> None:
        if heard.text is None or not self._model.capabilities.user_transcription:
            return
        self._items += 1
        kind = llm.InputTranscriptionCompleted
        wanted = {
            "item_id": f"heard-{self._items}",
            "transcript": heard.text,
            "is_final": True,
            "confidence": heard.confidence,
        }
        self.emit("input_audio_transcription_completed", kind(**known(kind, **wanted)))

    def _respond(self, *, asked: bool, call: str = "") -> llm.GenerationCreatedEvent:
        response = Response(f"answer-{len(self.responses)}", asked=asked)
        self.responses.append(response)
        if call:
            response.call(call)
        else:
            response.say(self._model.answer)
        response.pump = asyncio.create_task(self._speak(response, silent=bool(call)))
        response.pump.add_done_callback(lambda _: response.close())
        event = response.event()
        self.emit("generation_created", event)
        return event

    async def _speak(self, response: Response, *, silent: bool) -> None:
        samples = int(SAMPLE_RATE * CHUNK_SECONDS)
        while not silent and response.seconds < self._model.answer_seconds:
            response.audio.send_nowait(rtc.AudioFrame.create(SAMPLE_RATE, 1, samples))
            response.seconds += CHUNK_SECONDS
            await asyncio.sleep(CHUNK_SECONDS / self._model.speed)
