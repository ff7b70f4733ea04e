#!/usr/bin/env bash
# livekit-agents 1.8.9, tts.FallbackAdapter: a voice that fails in the middle of a sentence.
#
# Guess: the next voice says what is missing, or all of it again; both voices' characters are reported.
# Seen:  only a voice that fails before its first sound is followed by another one. Once a sound was there
#        the reply ends where the voice broke off, as if it were complete: no error is raised, the second
#        voice is not asked, and nothing is reported of what the first had been given.
# Hurts: half an answer, which the caller asks for again; and the bill has characters that no metrics have.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9
cat >"$dir/look.py" <<'PY'
import asyncio
import logging

from livekit.agents import APIConnectionError, tts
from livekit.agents.types import DEFAULT_API_CONNECT_OPTIONS

logging.disable(logging.CRITICAL)
RATE = 16000
TEXT = "One two three four five six seven eight."


class Stream(tts.SynthesizeStream):
    async def _run(self, output):
        output.initialize(
            request_id="r", sample_rate=RATE, num_channels=1, mime_type="audio/pcm", stream=True
        )
        output.start_segment(segment_id="s")
        text = "".join([data async for data in self._input_ch if isinstance(data, str)])
        self._mark_started()
        self._tts.asked = True
        for said, word in enumerate(text.split()):
            if said == self._tts.breaks_after:
                raise APIConnectionError("the provider is gone")
            output.push(bytes(RATE))  # half a second
            await asyncio.sleep(0.02)
        output.end_segment()


class Voice(tts.TTS):
    def __init__(self, breaks_after=None):
        capabilities = tts.TTSCapabilities(streaming=True)
        super().__init__(capabilities=capabilities, sample_rate=RATE, num_channels=1)
        self.asked, self.breaks_after = False, breaks_after

    def synthesize(self, text, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        raise NotImplementedError

    def stream(self, *, conn_options=DEFAULT_API_CONNECT_OPTIONS):
        return Stream(tts=self, conn_options=conn_options)


async def main():
    for breaks_after in (0, 3):
        first, second = Voice(breaks_after), Voice()
        adapter, reported, heard = tts.FallbackAdapter([first, second]), [], 0.0
        adapter.on("metrics_collected", lambda m, to=reported: to.append(m.characters_count))
        async with adapter.stream() as stream:
            stream.push_text(TEXT)
            stream.end_input()
            async for sound in stream:
                heard += sound.frame.duration
        print(f"breaks off after {breaks_after} words of 8: {heard:.1f} s of 4.0 are heard,"
              f" second asked: {second.asked}, characters reported: {sum(reported)}")
        await adapter.aclose()


asyncio.run(main())
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
breaks off after 0 words of 8: 4.0 s of 4.0 are heard, second asked: True, characters reported: 40
breaks off after 3 words of 8: 1.5 s of 4.0 are heard, second asked: False, characters reported: 0
SEEN
