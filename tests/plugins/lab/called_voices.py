"""A stand-in for the voice that is reached by gRPC: Google Cloud Text-to-Speech."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from importlib import import_module
from types import SimpleNamespace
from typing import Any, Final

from tests.plugins.lab.loopback import PATIENCE
from tests.plugins.lab.voices import Speech

__all__ = ["Google", "GoogleStream", "google"]

SERVICE: Final = "google.cloud.texttospeech.v1.TextToSpeech"


class Google(Speech):
    """cloud.google.com/text-to-speech: one call for all of the text, or text in pieces."""

    begins = False

    @contextlib.asynccontextmanager
    async def serving(self) -> AsyncIterator[Any]:
        """The server, running; ``port`` is where."""
        grpc: Any = import_module("grpc")
        api: Any = import_module("google.cloud.texttospeech_v1.types.cloud_tts")
        first, second = self.halves

        async def whole(request: bytes, _: Any) -> Any:
            self.asked += 1
            if self.pause < 3:
                await asyncio.sleep(PATIENCE)
            return api.SynthesizeSpeechResponse(audio_content=first + second)

        async def pieces(requests: AsyncIterator[bytes], _: Any) -> AsyncIterator[Any]:
            async for _request in requests:
                pass
            self.asked += 1
            for half in (first, second)[: max(self.pause - 1, 0)]:
                yield api.StreamingSynthesizeResponse(audio_content=half)
            if self.pause < 3:
                await asyncio.sleep(PATIENCE)

        def written(message: Any) -> bytes:
            data: bytes = type(message).pb(message).SerializeToString()
            return data

        handlers = {
            "SynthesizeSpeech": grpc.unary_unary_rpc_method_handler(
                whole, response_serializer=written
            ),
            "StreamingSynthesize": grpc.stream_stream_rpc_method_handler(
                pieces, response_serializer=written
            ),
        }
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        try:
            yield SimpleNamespace(port=port)
        finally:
            await server.stop(0.1)


class GoogleStream(Google):
    """The same, text in pieces."""

    begins = True
    streams = True


def google(module: Any, lab: Any) -> Any:
    """The plugin's voice, whose client speaks with the stand-in."""
    grpc: Any = import_module("grpc")
    api: Any = import_module("google.cloud.texttospeech_v1")
    transports: Any = import_module(
        "google.cloud.texttospeech_v1.services.text_to_speech.transports"
    )
    channel = grpc.aio.insecure_channel(f"127.0.0.1:{lab.port}")
    transport = transports.TextToSpeechGrpcAsyncIOTransport(channel=channel)
    model = module.TTS()
    model._client = api.TextToSpeechAsyncClient(transport=transport)
    return model
