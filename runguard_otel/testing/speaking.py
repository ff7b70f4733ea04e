"""A scripted language model and voice, counting tokens and characters."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, llm, tts

from runguard_otel.testing.named import Named
from runguard_otel.testing.rate import SAMPLE_RATE

__all__ = ["ScriptedLLM", "ScriptedTTS"]


class _LLMStream(llm.LLMStream):
    def __init__(self, model: ScriptedLLM, text: str, prompt_tokens: int, **kwargs: Any) -> None:
        super().__init__(model, **kwargs)
        self._text, self._prompt_tokens = text, prompt_tokens
        self._id = f"scripted-{len(model.calls)}"  # its own, as a provider gives it

    async def _run(self) -> None:
        words = self._text.split(" ")
        for n, word in enumerate(words):
            piece = word if n == 0 else f" {word}"
            delta = llm.ChoiceDelta(role="assistant", content=piece)
            self._event_ch.send_nowait(llm.ChatChunk(id=self._id, delta=delta))
        usage = llm.CompletionUsage(
            completion_tokens=len(words),
            prompt_tokens=self._prompt_tokens,
            total_tokens=len(words) + self._prompt_tokens,
        )
        self._event_ch.send_nowait(llm.ChatChunk(id=self._id, usage=usage))


class ScriptedLLM(Named, llm.LLM[Any]):
    """A language model that counts: one word is one token.

    Args:
        answer: What it answers, or a function from the user's last words to the answer.
        provider: What telemetry calls the vendor.
        model: What telemetry calls the model.
    """

    def __init__(
        self,
        answer: str | Callable[[str], str] = "Of course.",
        provider: str = "scripted",
        model: str = "scripted-llm",
    ) -> None:
        super().__init__()
        self._answer = answer
        self._provider_name, self._model_name = provider, model
        self.calls: list[str] = []
        self.prompt_tokens = 0
        self.completion_tokens = 0

    def chat(
        self,
        *,
        chat_ctx: llm.ChatContext,
        tools: Any = None,
        conn_options: Any = DEFAULT_API_CONNECT_OPTIONS,
        **_: Any,
    ) -> llm.LLMStream:
        """Answer; the user's last words are kept in ``calls``."""
        messages = [m for m in chat_ctx.items if isinstance(m, llm.ChatMessage)]
        said = [m.text_content or "" for m in messages if m.role == "user"]
        self.calls.append(said[-1] if said else "")
        text = self._answer if isinstance(self._answer, str) else self._answer(self.calls[-1])
        prompt = sum(len((m.text_content or "").split()) for m in messages)
        self.prompt_tokens += prompt
        self.completion_tokens += len(text.split(" "))
        return _LLMStream(
            self, text, prompt, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options
        )


class _SpokenText(tts.ChunkedStream):
    async def _run(self, output_emitter: Any = None) -> None:
        voice: Any = self._tts
        if output_emitter is None:  # 1.0
            audio = voice.audio_of(self._input_text)
            frame = rtc.AudioFrame(audio, SAMPLE_RATE, 1, len(audio) // 2)
            said = tts.SynthesizedAudio(frame=frame, request_id="scripted", is_final=True)
            self._event_ch.send_nowait(said)
            return
        output_emitter.initialize(
            request_id="scripted", sample_rate=SAMPLE_RATE, num_channels=1, mime_type="audio/pcm"
        )
        output_emitter.push(voice.audio_of(self._input_text))
        output_emitter.flush()


class ScriptedTTS(Named, tts.TTS[Any]):
    """A voice that says nothing, takes its time and counts characters.

    Args:
        seconds_per_character: How long a character takes to say; 0.06 is a calm speaker.
        provider: What telemetry calls the vendor.
        model: What telemetry calls the model.
    """

    def __init__(
        self,
        *,
        seconds_per_character: float = 0.06,
        provider: str = "scripted",
        model: str = "scripted-tts",
    ) -> None:
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=False),
            sample_rate=SAMPLE_RATE,
            num_channels=1,
        )
        self._provider_name, self._model_name = provider, model
        self._pace = seconds_per_character
        self.said: list[str] = []

    @property
    def characters(self) -> int:
        """Characters synthesised: the unit that is billed."""
        return sum(map(len, self.said))

    def synthesize(
        self, text: str, *, conn_options: Any = DEFAULT_API_CONNECT_OPTIONS
    ) -> tts.ChunkedStream:
        """Synthesise ``text``; it is kept in ``said``."""
        self.said.append(text)
        return _SpokenText(tts=self, input_text=text, conn_options=conn_options)

    def audio_of(self, text: str) -> bytes:
        """Silence as long as ``text`` takes to say, 16 bit mono."""
        return bytes(2 * int(SAMPLE_RATE * self._pace * max(1, len(text))))
