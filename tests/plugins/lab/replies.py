"""Stand-ins for language models: one reply, and what it used, as each protocol says it.

The numbers differ from each other, so that what comes out tells which of them was taken.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any, Final

from tests.plugins.lab.paused import Paused

__all__ = ["CACHED", "INPUT", "OUTPUT", "THOUGHT", "Anthropic", "Chat", "Conversations", "Gemini"]
__all__ += ["Responses", "ResponsesSocket"]

INPUT: Final = 1000
"""Tokens of the prompt, all of them."""
CACHED: Final = 400
"""Those of them that were read from the provider's cache."""
OUTPUT: Final = 50
"""Tokens of the reply, thinking included."""
THOUGHT: Final = 30
"""Those of them that were thinking."""
WORDS: Final = ("Good", " morning")


class Events(Paused):
    """A reply as server-sent events, in three parts: its head, a word, and the rest."""

    def head(self) -> Iterable[Any]:
        return ()

    def word(self) -> Iterable[Any]:
        raise NotImplementedError

    def rest(self) -> Iterable[Any]:
        raise NotImplementedError

    def parts(self) -> Iterable[bytes]:
        for part in (self.head(), self.word(), self.rest()):
            yield b"".join(self._line(message) for message in part)

    content_type = "text/event-stream"

    @staticmethod
    def _line(message: Any) -> bytes:
        if isinstance(message, str):
            return f"data: {message}\n\n".encode()
        name = f"event: {message['type']}\n" if "type" in message else ""
        return f"{name}data: {json.dumps(message)}\n\n".encode()


class Chat(Events):
    """platform.openai.com, chat completions: the protocol that most providers took over."""

    def _chunk(self, **fields: Any) -> dict[str, Any]:
        made = {"id": "r", "object": "chat.completion.chunk", "created": 1, "model": "m"}
        return {**made, "choices": [], **fields}

    def _choice(self, text: str, reason: str | None = None) -> dict[str, Any]:
        delta = {"role": "assistant", "content": text}
        return self._chunk(choices=[{"index": 0, "delta": delta, "finish_reason": reason}])

    def word(self) -> Iterable[Any]:
        return [self._choice(WORDS[0])]

    def rest(self) -> Iterable[Any]:
        usage = {
            "prompt_tokens": INPUT,
            "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT,
            "prompt_tokens_details": {"cached_tokens": CACHED, "audio_tokens": 0},
            "completion_tokens_details": {"reasoning_tokens": THOUGHT, "audio_tokens": 0},
        }
        said = [self._chunk(usage=usage)] if self.tells else []
        return [self._choice(WORDS[1], "stop"), *said, "[DONE]"]


class Conversations(Events):
    """docs.mistral.ai, conversations."""

    def head(self) -> Iterable[Any]:
        return [{"type": "conversation.response.started", "conversation_id": "c"}]

    def _said(self, text: str) -> dict[str, Any]:
        return {"type": "message.output.delta", "id": "r", "content": text}

    def word(self) -> Iterable[Any]:
        return [self._said(WORDS[0])]

    def rest(self) -> Iterable[Any]:
        usage = {
            "prompt_tokens": INPUT,
            "completion_tokens": OUTPUT,
            "total_tokens": INPUT + OUTPUT,
        }
        told = usage if self.tells else {}
        return [self._said(WORDS[1]), {"type": "conversation.response.done", "usage": told}]


class Anthropic(Events):
    """docs.anthropic.com, messages. Its input is net of the cache; the last usage is the sum."""

    def head(self) -> Iterable[Any]:
        usage = {
            "input_tokens": INPUT - CACHED,
            "cache_read_input_tokens": CACHED,
            "cache_creation_input_tokens": 0,
            "output_tokens": 1,
        }
        if not self.tells:
            usage = {"input_tokens": 0, "output_tokens": 0}
        message: dict[str, Any] = {
            "id": "r",
            "type": "message",
            "role": "assistant",
            "content": [],
            "model": "m",
            "stop_reason": None,
            "stop_sequence": None,
            "usage": usage,
        }
        block = {"type": "text", "text": ""}
        return [
            {"type": "message_start", "message": message},
            {"type": "content_block_start", "index": 0, "content_block": block},
        ]

    def _said(self, text: str) -> dict[str, Any]:
        delta = {"type": "text_delta", "text": text}
        return {"type": "content_block_delta", "index": 0, "delta": delta}

    def word(self) -> Iterable[Any]:
        return [self._said(WORDS[0])]

    def rest(self) -> Iterable[Any]:
        return [
            self._said(WORDS[1]),
            {"type": "content_block_stop", "index": 0},
            {
                "type": "message_delta",
                "delta": {"stop_reason": "end_turn", "stop_sequence": None},
                "usage": {"output_tokens": OUTPUT if self.tells else 0},
            },
            {"type": "message_stop"},
        ]


class Gemini(Events):
    """ai.google.dev, streamGenerateContent: each part has the usage so far, thoughts beside it."""

    def _said(self, text: str, spoken: int, **fields: Any) -> dict[str, Any]:
        content = {"role": "model", "parts": [{"text": text}]}
        said: dict[str, Any] = {"candidates": [{"index": 0, "content": content, **fields}]}
        if self.tells:
            said["usageMetadata"] = {
                "promptTokenCount": INPUT,
                "cachedContentTokenCount": CACHED,
                "candidatesTokenCount": spoken,
                "thoughtsTokenCount": THOUGHT,
                "totalTokenCount": INPUT + spoken + THOUGHT,
            }
        return said

    def word(self) -> Iterable[Any]:
        return [self._said(WORDS[0], 5)]

    def rest(self) -> Iterable[Any]:
        return [self._said(WORDS[1], OUTPUT - THOUGHT, finishReason="STOP")]


class Responses(Events):
    """platform.openai.com, responses."""

    def _response(self, status: str) -> dict[str, Any]:
        made: dict[str, Any] = {
            "id": "r",
            "object": "response",
            "created_at": 1,
            "status": status,
            "model": "m",
            "output": [],
            "parallel_tool_calls": True,
            "tool_choice": "auto",
            "tools": [],
        }
        if status == "completed" and self.tells:
            made["usage"] = {
                "input_tokens": INPUT,
                "input_tokens_details": {"cached_tokens": CACHED, "cache_write_tokens": 0},
                "output_tokens": OUTPUT,
                "output_tokens_details": {"reasoning_tokens": THOUGHT},
                "total_tokens": INPUT + OUTPUT,
            }
        return made

    def head(self) -> Iterable[Any]:
        made = self._response("in_progress")
        return [{"type": "response.created", "sequence_number": 0, "response": made}]

    def _said(self, number: int) -> dict[str, Any]:
        return {
            "type": "response.output_text.delta",
            "sequence_number": number,
            "item_id": "i",
            "output_index": 0,
            "content_index": 0,
            "delta": WORDS[number - 1],
            "logprobs": [],
        }

    def word(self) -> Iterable[Any]:
        return [self._said(1)]

    def rest(self) -> Iterable[Any]:
        made = self._response("completed")
        return [
            self._said(2),
            {"type": "response.completed", "sequence_number": 3, "response": made},
        ]


class ResponsesSocket(Responses):
    """The same over a websocket: what one message asks for, others answer."""

    def heard(self, message: str) -> Iterable[Any]:
        self.asked += 1
        parts = (self.head, self.word, self.rest)
        return [said for part in parts[: self.pause] for said in part()]
