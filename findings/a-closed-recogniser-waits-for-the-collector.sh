#!/usr/bin/env bash
# livekit-agents 1.8.9: when the streams of a model, a voice and a recogniser go, once they are closed and forgotten.
#
# Guess: all three at once, for each is closed by its own aclose() and nobody refers to it any more.
# Seen:  a reply and a spoken text do. A recogniser's stream waits for the garbage collector: its task was
#        cancelled, and the frame of that task, which has the stream, is kept by the error that it ended with.
#        Only one whose input was ended before, so that nothing had to be cancelled, goes at once.
# Hurts: where the collector is off or frozen for the sake of latency, each recogniser that was opened anew (a track
#        that flaps, a handoff, a fallback) keeps its buffers and its client until the process ends.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import gc
import logging
import weakref

from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, llm, stt, tts

logging.disable(logging.CRITICAL)


class Heard(stt.RecognizeStream):
    async def _run(self):
        async for _ in self._input_ch:
            pass


class Recogniser(stt.STT):
    def __init__(self):
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args, **kwargs):
        raise NotImplementedError

    def stream(self, **kwargs):
        return Heard(stt=self, conn_options=DEFAULT_API_CONNECT_OPTIONS)


class Reply(llm.LLMStream):
    async def _run(self):
        delta = llm.ChoiceDelta(role="assistant", content="yes")
        self._event_ch.send_nowait(llm.ChatChunk(id="1", delta=delta))


class Model(llm.LLM):
    def chat(self, *, chat_ctx, **kwargs):
        options = DEFAULT_API_CONNECT_OPTIONS
        return Reply(self, chat_ctx=chat_ctx, tools=[], conn_options=options)


class Spoken(tts.ChunkedStream):
    async def _run(self, emitter):
        emitter.initialize(request_id="1", sample_rate=16000, num_channels=1, mime_type="audio/pcm")
        emitter.push(bytes(3200))
        emitter.flush()


class Voice(tts.TTS):
    def __init__(self):
        super().__init__(capabilities=tts.TTSCapabilities(streaming=False), sample_rate=16000, num_channels=1)

    def synthesize(self, text, **kwargs):
        return Spoken(tts=self, input_text=text, conn_options=DEFAULT_API_CONNECT_OPTIONS)


async def read(stream):
    async for _ in stream:
        pass


async def open_read_close(make, how):
    stream = make()
    await asyncio.sleep(0.05)
    if how == "ended":
        stream.end_input()
    if how:
        await read(stream)
    await stream.aclose()
    return weakref.ref(stream)


async def main():
    recogniser, model, voice = Recogniser(), Model(), Voice()
    gc.collect()
    gc.disable()
    for name, make, how in (
        ("a reply", lambda: model.chat(chat_ctx=llm.ChatContext.empty()), "read"),
        ("a spoken text", lambda: voice.synthesize("yes"), "read"),
        ("a recogniser's stream", recogniser.stream, ""),
        ("one whose input was ended first", recogniser.stream, "ended"),
    ):
        seen = await open_read_close(make, how)
        await asyncio.sleep(0.2)
        kept = seen() is not None
        gc.collect()
        print(f"{name}: kept after aclose() {kept}, after a collection {seen() is not None}")


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
a reply: kept after aclose() False, after a collection False
a spoken text: kept after aclose() False, after a collection False
a recogniser's stream: kept after aclose() True, after a collection False
one whose input was ended first: kept after aclose() False, after a collection False
SEEN
