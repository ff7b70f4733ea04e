#!/usr/bin/env bash
# voice-prices 0.11.0 and floe-guard 0.25.2, two price books of one season: what the same speech costs.
#
# Guess: the same, or a few per cent apart; both take the providers' public pay-as-you-go lists.
# Seen:  the same for ElevenLabs and AssemblyAI. An hour of Deepgram's Nova-3 costs 60 % more in one: the
#        page shows a regular and a current price side by side. Cartesia's characters cost 40 % less in it:
#        it sells credits, and what a credit costs depends on the plan.
# Hurts: whoever compares two tools' bills, or sets a budget by one and reads the other.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check voice-prices==0.11.0 floe-guard==0.25.2
cat >"$dir/look.py" <<'PY'
from decimal import Decimal

from floe_guard import lookup_voice_rate
from voice_prices import Usage, calc_price

HOUR, TEXT = 3600, 1000
SAME = [
    ("deepgram-nova-3", "deepgram", "nova-3"),
    ("deepgram-nova-3-multilingual", "deepgram", "nova-3-multilingual"),
    ("assemblyai-universal-streaming", "assemblyai", "universal-streaming-english"),
    ("elevenlabs-flash-v2.5", "elevenlabs", "eleven_flash_v2_5"),
    ("elevenlabs-multilingual-v2", "elevenlabs", "eleven_multilingual_v2"),
    ("cartesia-sonic", "cartesia", "sonic-3"),
]
for leg, provider, model in SAME:
    spoken = provider in ("deepgram", "assemblyai")
    rate = lookup_voice_rate(leg, "stt" if spoken else "tts")
    amount = rate * (HOUR if spoken else 1)
    used = Usage(audio_input_seconds=Decimal(HOUR)) if spoken else Usage(characters=TEXT)
    other = calc_price(used, model, provider_id=provider).total_price
    what = "an hour" if spoken else f"{TEXT} characters"
    print(f"{provider} {model}, {what}: {amount:.2f} and {other:.2f} USD")
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
deepgram nova-3, an hour: 0.46 and 0.29 USD
deepgram nova-3-multilingual, an hour: 0.55 and 0.35 USD
assemblyai universal-streaming-english, an hour: 0.15 and 0.15 USD
elevenlabs eleven_flash_v2_5, 1000 characters: 0.05 and 0.05 USD
elevenlabs eleven_multilingual_v2, 1000 characters: 0.10 and 0.10 USD
cartesia sonic-3, 1000 characters: 0.03 and 0.05 USD
SEEN
