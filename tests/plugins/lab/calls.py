"""Stand-ins for recognisers that are reached by gRPC: Google Cloud Speech and NVIDIA Riva."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterable
from datetime import timedelta
from importlib import import_module
from typing import Any

from tests.plugins.lab.loopback import Provider, Script
from tests.plugins.lab.said import Said, Word

__all__ = ["CallProvider", "CallScript", "Google", "Riva"]


class CallScript(Script):
    """A provider whose stream is a call of a gRPC method."""

    method = ""

    def read(self, data: bytes) -> Any:
        """A request, from its bytes."""
        return data

    def listen(self, request: Any) -> str:
        """What a client says beside audio."""
        return ""


class CallProvider(Provider):
    """The server. ``sockets`` are the open calls' queues of what is to be said."""

    script: CallScript
    counts_exactly = False

    def __init__(self, script: CallScript) -> None:
        super().__init__(script)
        self._calls: list[asyncio.Queue[Any]] = []
        self._server: Any = None

    @property
    def open(self) -> list[Any]:
        return self._calls

    async def start(self) -> None:
        """Serve, on a free port."""
        grpc: Any = import_module("grpc")

        async def stream(requests: AsyncIterator[Any], context: Any) -> AsyncIterator[Any]:
            said: asyncio.Queue[Any] = asyncio.Queue()
            self.connections += 1
            self._calls.append(said)

            async def hear() -> None:
                async for _ in requests:
                    pass
                self.texts.append("end of the requests")
                said.put_nowait(0)

            hearing = asyncio.ensure_future(hear())
            try:
                code = self.closes_with
                while code is None:
                    message = await said.get()
                    if isinstance(message, int):
                        code = message
                    else:
                        yield message
                if code > 1000 and self.connections <= 12:
                    await context.abort(grpc.StatusCode.UNAVAILABLE, "as the laboratory asked")
                elif self.connections > 12:
                    await said.get()
            finally:
                hearing.cancel()
                self._calls.remove(said)

        service, _, name = self.script.method.rpartition("/")
        handler = grpc.stream_stream_rpc_method_handler(
            stream, None, lambda message: message.SerializeToString()
        )
        self._server = grpc.aio.server()
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(service.strip("/"), {name: handler}),)
        )
        self.port = self._server.add_insecure_port("127.0.0.1:0")
        await self._server.start()

    async def stop(self) -> None:
        await self.close(1000)
        await self._server.stop(0.1)

    async def say(self, messages: Iterable[Any]) -> None:
        call = self._calls[-1]
        for message in messages:
            call.put_nowait(message)
        while not call.empty():
            await asyncio.sleep(0.005)
        await asyncio.sleep(0.1)  # a gRPC client does not say what it has read

    async def close(self, code: int) -> None:
        for call in list(self._calls):
            call.put_nowait(code)
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.sleep(0.05)


class Google(CallScript):
    """cloud.google.com/speech-to-text, streaming: the default model is served by v1."""

    method = "/google.cloud.speech.v1.Speech/StreamingRecognize"

    def _response(self, said: Said | None, *, final: bool) -> Any:
        api: Any = import_module("google.cloud.speech_v1.types.cloud_speech")

        alternatives = []
        if said is not None:
            alternatives = [
                api.SpeechRecognitionAlternative(
                    transcript=said.text,
                    confidence=said.utterance if said.numbers and final else 0.0,
                    words=[_word(api.WordInfo, word, said) for word in said.words],
                )
            ]
        result = api.StreamingRecognitionResult(
            alternatives=alternatives, is_final=final, stability=0.9, language_code="en-us"
        )
        response = api.StreamingRecognizeResponse(results=[result])
        if final:
            self.turns += 1
            response.total_billed_time = timedelta(seconds=self.turns)
        return api.StreamingRecognizeResponse.pb(response)

    def turn(self, said: Said) -> Iterable[Any]:
        return [self._response(said, final=False), self._response(said, final=True)]

    def noise(self) -> Iterable[Any]:
        return [self._response(None, final=True)]


class Riva(CallScript):
    """docs.nvidia.com, Riva speech recognition, streaming."""

    method = "/nvidia.riva.asr.RivaSpeechRecognition/StreamingRecognize"

    def _response(self, said: Said | None, *, final: bool) -> Any:
        api: Any = import_module("riva.client.proto.riva_asr_pb2")

        best = api.SpeechRecognitionAlternative(transcript="", confidence=0.0)
        if said is not None:
            score = said.utterance if said.numbers and final else 0.0
            best = api.SpeechRecognitionAlternative(
                transcript=said.text,
                confidence=score,
                words=[
                    api.WordInfo(
                        word=w.text,
                        confidence=w.confidence if said.numbers else 0.0,
                        start_time=int(w.start * 1e3),
                        end_time=int(w.end * 1e3),
                    )
                    for w in said.words
                ],
            )
        result = api.StreamingRecognitionResult(alternatives=[best], is_final=final)
        return api.StreamingRecognizeResponse(results=[result])

    def turn(self, said: Said) -> Iterable[Any]:
        return [self._response(said, final=False), self._response(said, final=True)]

    def noise(self) -> Iterable[Any]:
        return [self._response(None, final=True)]


def _word(kind: Any, word: Word, said: Said) -> Any:
    return kind(
        word=word.text,
        confidence=word.confidence if said.numbers else 0.0,
        start_time=timedelta(seconds=word.start),
        end_time=timedelta(seconds=word.end),
    )
