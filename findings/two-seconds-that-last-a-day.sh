#!/usr/bin/env bash
# mutagen 1.48.1, tinytag 2.3.2, soundfile 0.14.0, av 18.1.0 and Python's wave: how long a WAV file lasts whose
# writer did not know it yet, as voices that stream a WAV cannot (its header says the greatest number, or 0).
#
# Guess: as long as its sound; or what reads no more than the header says that there is no length in it.
# Seen:  two seconds last 24 h 51 min for mutagen, tinytag and wave, which take the header's word against the size
#        of the file, and no time at all where the header says 0. soundfile knows the first and not the second;
#        av, which looks at the file, knows both. No warning from any.
# Hurts: recordings that are billed, or kept, by their length: one such file is a day of speech. An announcement
#        that is waited for by its length is waited for until the worker is started anew.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check mutagen==1.48.1 tinytag==2.3.2 soundfile==0.14.0 av==18.1.0
cat >"$dir/look.py" <<'PY'
import struct
import sys
import warnings

import av
import mutagen.wave
import soundfile
import tinytag

warnings.simplefilter("error")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import wave
RATE, BYTES = 24000, 2 * 2 * 24000  # two seconds, 16 bits, one channel
UNKNOWN = 0xFFFFFFFF


def by_wave(path):
    with wave.open(path) as file:
        return file.getnframes() / file.getframerate()


def by_av(path):
    with av.open(path) as file:
        return file.duration / av.time_base


asked = {
    "wave": by_wave,
    "mutagen": lambda path: mutagen.wave.WAVE(path).info.length,
    "tinytag": lambda path: tinytag.TinyTag.get(path).duration,
    "soundfile": lambda path: soundfile.info(path).duration,
    "av": by_av,
}
for name, said in (("the length", BYTES), ("the greatest number", UNKNOWN), ("0", 0)):
    riff = min(said + 36, UNKNOWN)
    form = struct.pack("<4sI4s4sIHHIIHH", b"RIFF", riff, b"WAVE", b"fmt ", 16, 1, 1, RATE, 2 * RATE, 2, 16)
    with open(sys.argv[1], "wb") as file:
        file.write(form + struct.pack("<4sI", b"data", said) + bytes(BYTES))
    told = (f"{library} {length(sys.argv[1]):.0f} s" for library, length in asked.items())
    print(f"the header says {name}:", ", ".join(told))
PY
"$dir/env/bin/python" "$dir/look.py" "$dir/voice.wav" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
the header says the length: wave 2 s, mutagen 2 s, tinytag 2 s, soundfile 2 s, av 2 s
the header says the greatest number: wave 89478 s, mutagen 89478 s, tinytag 89478 s, soundfile 2 s, av 2 s
the header says 0: wave 0 s, mutagen 0 s, tinytag 0 s, soundfile 0 s, av 2 s
SEEN
