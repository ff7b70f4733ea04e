"""livekit-plugins-nvidia over gRPC: clear speech on Riva's scale reaches the LLM."""

from __future__ import annotations

import queue
from collections.abc import Iterator
from concurrent import futures
from typing import Any

import pytest

plugin: Any = pytest.importorskip(
    "livekit.plugins.nvidia", reason="livekit-plugins-nvidia: run `make test-plugins`"
)
grpc: Any = pytest.importorskip("grpc")
asr: Any = pytest.importorskip("riva.client.proto.riva_asr_pb2")
asr_grpc: Any = pytest.importorskip("riva.client.proto.riva_asr_pb2_grpc")

from runguard_otel.testing.calls import call  # noqa: E402  # only with the plugin
from runguard_otel.testing.waiting import settle, until  # noqa: E402  # only with the plugin
from tests.kit.speech import Guarded  # noqa: E402  # only with the plugin

pytestmark = pytest.mark.livekit

SAID = [
    ("I would like to place an order.", 0.36569),
    ("Two boxes of the large ones.", -0.9994),
    ("Processing?", 0.36569),
    ("Processing?", 0.21),
    ("No, the large ones.", -2.6),
    ("Yes.", 0.05),
    ("Thank you, that is all.", 0.4),
    ("Goodbye.", 0.0),
]
"""What Riva makes of clear speech: from -2.6 to +0.4, and higher is no better."""


class Riva(asr_grpc.RivaSpeechRecognitionServicer):  # type: ignore[misc]  # an untyped package
    """Says what it is told, whatever it hears."""

    def __init__(self) -> None:
        self.said: queue.Queue[Any] = queue.Queue()
        self.server = grpc.server(futures.ThreadPoolExecutor(4))
        asr_grpc.add_RivaSpeechRecognitionServicer_to_server(self, self.server)
        self.port = self.server.add_insecure_port("127.0.0.1:0")

    def StreamingRecognize(self, requests: Any, _: Any) -> Iterator[Any]:
        next(requests)
        while (response := self.said.get()) is not None:
            yield response

    def say(self, text: str, score: float, *, final: bool) -> None:
        """One response with one result."""
        best = asr.SpeechRecognitionAlternative(transcript=text, confidence=score)
        result = asr.StreamingRecognitionResult(alternatives=[best], is_final=final)
        self.said.put(asr.StreamingRecognizeResponse(results=[result]))


@pytest.fixture
def riva() -> Iterator[Riva]:
    service = Riva()
    service.server.start()
    yield service
    service.said.put(None)
    service.server.stop(None).wait()


async def test_clear_speech_on_a_raw_scale_is_judged_by_its_words(riva: Riva) -> None:
    """Fails if the numbers inside 0..1 are taken for confidences: six of eight are unsure then."""
    recogniser = plugin.STT(server=f"127.0.0.1:{riva.port}", use_ssl=False, api_key="none")
    with Guarded() as guarded:
        async with call(recogniser=recogniser) as c:
            for n, (text, score) in enumerate(SAID, start=1):
                c.vad.start_of_speech()
                await settle(20)
                riva.say(text, 0.0, final=False)
                riva.say(text, score, final=True)
                heard: list[str] = c.transcribed
                await until(lambda heard=heard, n=n: heard.count(SAID[n - 1][0]) >= 2)
                c.vad.end_of_speech()
                await until(lambda n=n: len(c.asked) >= n)
                guarded.now += 4.0
            assert c.asked == [text for text, _ in SAID]
            riva.said.put(None)
    assert guarded.kinds == []
    assert guarded.recorder.count(
        "runguard.stt.results", provider="nvidia", confidence="unusable"
    ) == len(SAID)
