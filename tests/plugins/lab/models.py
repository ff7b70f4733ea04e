"""Which language models and voices are run: how each is made, and the stand-in for its provider."""

from __future__ import annotations

import inspect
from importlib import import_module
from typing import Any, Final

from tests.plugins.lab import called_voices, replies, speakers, voices
from tests.plugins.lab.loopback import Provider
from tests.plugins.lab.products import Product, plain

__all__ = ["LANGUAGE_MODELS", "VOICES"]


def inside(module: str, cls: str = "LLM") -> Any:
    """A class of a module of the plugin."""

    def make(plugin: Any, lab: Provider) -> Any:
        return plain(cls)(getattr(plugin, module), lab)

    return make


def with_(name: str, **options: Any) -> Any:
    """``openai.LLM.with_...``: another provider by OpenAI's client."""

    def make(module: Any, lab: Provider) -> Any:
        return getattr(module.LLM, f"with_{name}")(api_key="none", **options)

    return make


def azure(module: Any, lab: Provider) -> Any:
    return module.LLM.with_azure(
        api_key="none",
        azure_endpoint="https://laboratory.openai.azure.com",
        azure_deployment="our-deployment",
        api_version="2024-10-21",
    )


def inference(_: Any, lab: Provider) -> Any:
    from livekit.agents import inference as module

    return module.LLM("openai/gpt-4.1-mini", api_key="none", api_secret="none" * 8)


LANGUAGE_MODELS: Final = (
    Product("anthropic", "LLM", replies.Anthropic, plain("LLM")),
    Product("baseten", "LLM", replies.Chat, plain("LLM")),
    Product("cerebras", "LLM", replies.Chat, plain("LLM")),
    Product("google", "LLM", replies.Gemini, plain("LLM")),
    Product("groq", "LLM", replies.Chat, plain("LLM")),
    Product("inference", "LLM", replies.Chat, inference),
    Product("mistralai", "LLM", replies.Conversations, plain("LLM")),
    Product(
        "mistralai", "LLM chat_completions", replies.Chat, plain("LLM", api_mode="chat_completions")
    ),
    Product("openai", "LLM", replies.Chat, plain("LLM")),
    Product("openai", "LLM.with_azure", replies.Chat, azure),
    Product("openai", "LLM.with_deepseek", replies.Chat, with_("deepseek")),
    Product("openai", "LLM.with_fireworks", replies.Chat, with_("fireworks")),
    Product("openai", "LLM.with_openrouter", replies.Chat, with_("openrouter")),
    Product("openai", "LLM.with_telnyx", replies.Chat, with_("telnyx")),
    Product("openai", "LLM.with_together", replies.Chat, with_("together")),
    Product("openai", "LLM.with_x_ai", replies.Chat, with_("x_ai")),
    Product("openai", "responses.LLM", replies.ResponsesSocket, inside("responses")),
    Product("perplexity", "LLM", replies.Chat, plain("LLM")),
    Product("perplexity", "responses.LLM", replies.Responses, inside("responses")),
    Product("sarvam", "LLM", replies.Chat, plain("LLM")),
    Product("xai", "responses.LLM", replies.Responses, inside("responses")),
)


def speaking(_: Any, lab: Provider) -> Any:
    from livekit.agents import inference as module

    given: Any = {"api_key": "none", "api_secret": "none" * 8, "http_session": lab.session}
    return module.TTS("cartesia/sonic-3", voice="v", **given)


def gemini(module: Any, lab: Provider) -> Any:
    script: Any = lab.script
    text = inspect.getsource(import_module(module.beta.GeminiTTS.__module__))
    script.begins = "generate_content_stream" in text  # older releases wait for all of it
    return module.beta.GeminiTTS(api_key="none")


VOICES: Final = (
    Product("assemblyai", "TTS stream()", speakers.AssemblyAI, plain("TTS")),
    Product("baseten", "TTS", voices.Raw, plain("TTS", model_endpoint="https://baseten.test/v1")),
    Product(
        "baseten",
        "TTS stream()",
        speakers.Baseten,
        plain("TTS", model_endpoint="wss://baseten.test/v1"),
    ),
    Product("cartesia", "TTS", voices.Raw, plain("TTS")),
    Product("cartesia", "TTS stream()", speakers.Cartesia, plain("TTS")),
    Product("deepgram", "TTS", voices.Raw, plain("TTS")),
    Product("deepgram", "TTS stream()", speakers.Deepgram, plain("TTS")),
    Product("deepgram", "TTSv2", voices.Raw, plain("TTSv2")),
    Product("deepgram", "TTSv2 stream()", speakers.DeepgramFlux, plain("TTSv2")),
    Product("elevenlabs", "TTS", voices.Elevenlabs, plain("TTS")),
    Product("elevenlabs", "TTS stream()", speakers.Elevenlabs, plain("TTS")),
    Product("google", "TTS", called_voices.Google, called_voices.google),
    Product("google", "TTS stream()", called_voices.GoogleStream, called_voices.google),
    Product("google", "beta.GeminiTTS", voices.Gemini, gemini),
    Product("groq", "TTS", voices.Wave, plain("TTS")),
    Product("hume", "TTS", voices.Hume, plain("TTS")),
    Product("inference", "TTS stream()", speakers.Inference, speaking),
    Product("inworld", "TTS", voices.Inworld, plain("TTS")),
    Product("inworld", "TTS stream()", speakers.Inworld, plain("TTS")),
    Product("lmnt", "TTS", voices.Mp3, plain("TTS")),
    Product("mistralai", "TTS", voices.Mistral, plain("TTS")),
    Product("neuphonic", "TTS", voices.Neuphonic, plain("TTS")),
    Product("neuphonic", "TTS stream()", speakers.Neuphonic, plain("TTS")),
    Product("openai", "TTS", voices.SpeechEvents, plain("TTS")),
    Product("resemble", "TTS", voices.Resemble, plain("TTS")),
    Product("resemble", "TTS stream()", speakers.Resemble, plain("TTS")),
    Product("rime", "TTS", voices.Raw, plain("TTS")),
    Product("rime", "TTS stream()", speakers.Rime, plain("TTS", use_websocket=True)),
    Product("sarvam", "TTS", voices.Sarvam, plain("TTS")),
    Product("sarvam", "TTS stream()", speakers.Sarvam, plain("TTS")),
    Product("smallestai", "TTS", voices.Raw, plain("TTS")),
    Product("smallestai", "TTS stream()", speakers.SmallestAI, plain("TTS")),
    Product("telnyx", "TTS", speakers.TelnyxWhole, plain("TTS")),
    Product("telnyx", "TTS stream()", speakers.Telnyx, plain("TTS")),
    Product("xai", "TTS", speakers.XAIWhole, plain("TTS")),
    Product("xai", "TTS stream()", speakers.XAI, plain("TTS")),
)
