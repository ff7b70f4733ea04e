"""Stand-ins for recognisers that take a recording by HTTP."""

from __future__ import annotations

from typing import Any

from aiohttp import web

from tests.plugins.lab.loopback import Script
from tests.plugins.lab.said import Said

__all__ = ["Clova", "Text", "Whisper"]


class Text(Script):
    """``{"text": ...}`` and nothing that measures it: fal's Wizper, Spitch."""

    def answer(self, request: web.Request, said: Said | None) -> Any:
        return {"text": said.text if said else "", "request_id": "r"}


class Whisper(Script):
    """platform.openai.com, audio transcriptions; also Groq and Mistral."""

    def answer(self, request: web.Request, said: Said | None) -> Any:
        text = said.text if said else ""
        logs = (
            [{"token": w.text, "logprob": w.log, "bytes": []} for w in said.words] if said else []
        )
        tokens: dict[str, Any] = {
            "type": "tokens",
            "input_tokens": 10,
            "output_tokens": 5,
            "total_tokens": 15,
        }
        details = {"input_token_details": {"text_tokens": 0, "audio_tokens": 10}}
        segment = {"id": 0, "text": text, "start": 0.0, "end": 1.0}
        mistral: dict[str, Any] = {
            "prompt_audio_seconds": 1,
            "prompt_tokens": 4,
            "completion_tokens": 5,
        }
        if "mistral" in request.headers.get("User-Agent", ""):
            usage: dict[str, Any] = {**mistral, "total_tokens": 9}
            return {
                "model": "voxtral",
                "text": text,
                "language": "en",
                "segments": [],
                "usage": usage,
            }
        return {
            "text": text,
            "logprobs": logs,
            "usage": {**tokens, **details},
            "segments": [segment],
        }


class Clova(Script):
    """NAVER CLOVA Speech: text and one confidence."""

    def answer(self, request: web.Request, said: Said | None) -> Any:
        if said is None:
            return {"result": "COMPLETED", "text": "", "confidence": 0.0}
        return {"result": "COMPLETED", "text": said.text, "confidence": said.utterance}
