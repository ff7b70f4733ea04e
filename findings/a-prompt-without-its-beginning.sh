#!/usr/bin/env bash
# livekit-agents 1.8.9 with av 18.1.0, utils.audio.audio_frames_from_file() (what BackgroundAudioPlayer plays a file
# with, and what one makes frames for session.say(audio=...) with): a WAV file.
#
# Guess: every sample, once. WAV is the plain format; a file is not a network, there is nothing to catch up with.
# Seen:  the file without its beginning. The decoder is opened for streams that are to start at once, and what
#        libav reads to see what it has is thrown away: 64 ms at 8 and 16 kHz, 85 ms at 24 and 48 kHz. FLAC loses
#        its first block. The same bytes pushed to a decoder that is told "audio/wav" are all there.
# Hurts: "press one" begins in the middle of the p; a short beep is half as long. It is in no log.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 av==18.1.0
cat >"$dir/look.py" <<'PY'
import asyncio
import random
import sys
import wave

from livekit.agents.utils.audio import audio_frames_from_file
from livekit.agents.utils.codecs import AudioStreamDecoder

path = sys.argv[1]


async def from_file(rate):
    return b"".join([bytes(frame.data) async for frame in audio_frames_from_file(path, sample_rate=rate)])


async def from_pushed(rate):
    decoder = AudioStreamDecoder(sample_rate=rate, format="audio/wav")
    with open(path, "rb") as file:
        decoder.push(file.read())
    decoder.end_input()
    return b"".join([bytes(frame.data) async for frame in decoder])


for rate in (8000, 16000, 24000, 48000):
    whole = random.Random(1).randbytes(2 * 2 * rate)  # two seconds of noise, 16 bits, one channel
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, rate, 0, "NONE", "not compressed"))
        file.writeframes(whole)
    got, pushed = asyncio.run(from_file(rate)), asyncio.run(from_pushed(rate))
    lost = (len(whole) - len(got)) / 2 / rate
    part = "at the beginning" if got == whole[-len(got) :] else "elsewhere"
    told = "all there" if pushed == whole else "not all there"
    print(f"{rate} Hz: of 2 s {lost * 1000:.0f} ms are lost {part}; pushed as audio/wav: {told}")
PY
"$dir/env/bin/python" -W ignore "$dir/look.py" "$dir/prompt.wav" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
8000 Hz: of 2 s 64 ms are lost at the beginning; pushed as audio/wav: all there
16000 Hz: of 2 s 64 ms are lost at the beginning; pushed as audio/wav: all there
24000 Hz: of 2 s 85 ms are lost at the beginning; pushed as audio/wav: all there
48000 Hz: of 2 s 85 ms are lost at the beginning; pushed as audio/wav: all there
SEEN
