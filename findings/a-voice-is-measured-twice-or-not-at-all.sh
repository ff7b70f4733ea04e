#!/usr/bin/env bash
# livekit-agents 1.8.9, a voice that streams its text: what `metrics_collected` says of its characters.
#
# Guess: a text that was given to the provider is measured once, however much of it is heard.
# Seen:  streamed to its end, once; interrupted, not at all (a voice without streaming says it then, too);
#        and `synthesize()`, where the voice makes it by `_synthesize_with_stream`, twice: as a request
#        and as the stream inside it.
# Hurts: bills that are added up from metrics: every answer that a caller interrupts is missing, and
#        announcements of such voices cost double.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio

from livekit.agents import tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

TEXT = "Good morning, Ada."


def begin(emitter, stream):
    emitter.initialize(
        request_id="r", sample_rate=24000, num_channels=1, mime_type="audio/pcm", stream=stream
    )


class Pieces(tts.SynthesizeStream):
    async def _run(self, emitter):  # a provider: half a second of audio, and later the rest
        begin(emitter, True)
        emitter.start_segment(segment_id="s")
        async for piece in self._input_ch:
            if isinstance(piece, str):
                self._mark_started()
                emitter.push(bytes(24000))
        await asyncio.sleep(0.5)
        emitter.push(bytes(24000))
        emitter.end_segment()


class Whole(tts.ChunkedStream):
    async def _run(self, emitter):
        begin(emitter, False)
        emitter.push(bytes(24000))
        await asyncio.sleep(0.5)
        emitter.push(bytes(24000))


class Voice(tts.TTS):
    def __init__(self, by_stream):
        super().__init__(
            capabilities=tts.TTSCapabilities(streaming=True), sample_rate=24000, num_channels=1
        )
        self.by_stream = by_stream

    def stream(self, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return Pieces(tts=self, conn_options=conn_options)

    def synthesize(self, text, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        if self.by_stream:
            return self._synthesize_with_stream(text, conn_options=conn_options)
        return Whole(tts=self, input_text=text, conn_options=conn_options)


async def measured(how, interrupted):
    voice, seen = Voice(how == "synthesize() by stream()"), []
    voice.on("metrics_collected", seen.append)
    if how == "stream()":
        stream = voice.stream()
        stream.push_text(TEXT)
        stream.end_input()
    else:
        stream = voice.synthesize(TEXT)
    async for _ in stream:
        if interrupted:
            break
    await stream.aclose()
    await asyncio.sleep(0.2)
    return [m.characters_count for m in seen] or "no metrics"


for how in ("stream()", "synthesize()", "synthesize() by stream()"):
    print(f"{how}, {len(TEXT)} characters, to the end:", asyncio.run(measured(how, False)))
    if "by" not in how:
        print(f"{how}, interrupted:", asyncio.run(measured(how, True)))
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
stream(), 18 characters, to the end: [18]
stream(), interrupted: no metrics
synthesize(), 18 characters, to the end: [18]
synthesize(), interrupted: [18]
synthesize() by stream(), 18 characters, to the end: [18, 18]
SEEN
