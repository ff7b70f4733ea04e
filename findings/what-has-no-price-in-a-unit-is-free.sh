#!/usr/bin/env bash
# litellm 1.110.2 and genai-prices 0.2.3, two price books: a voice or a recogniser, asked in a unit it is not sold in.
#
# Guess: an error, as both give for a model that they do not know, or a warning at least.
# Seen:  zero, and no word. LiveKit's metrics give every voice's characters and every recogniser's seconds; OpenAI
#        sells some of them by token. In genai-prices these cost nothing, and so does one that is sold by character
#        or second and asked by token. litellm wants to be told call_type="speech" besides the characters; without
#        it they cost nothing with any voice.
# Hurts: a budget in which the voice costs nothing is not used up by the calls that talk without end.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check litellm==1.110.2 genai-prices==0.2.3
cat >"$dir/look.py" <<'PY'
import os
import warnings

os.environ["LITELLM_LOCAL_MODEL_COST_MAP"] = "True"  # the list that it was released with
os.environ["LITELLM_LOG"] = "CRITICAL"
import litellm
from genai_prices import Usage, calc_price

litellm.suppress_debug_info = True
warnings.simplefilter("error")


def by_genai(model, **usage):
    return calc_price(Usage(**usage), model, provider_id="openai").total_price


def by_litellm(model, **usage):
    return sum(litellm.cost_per_token(model=model, **usage))


for name, price, model, usage in (
    ("genai-prices", by_genai, "tts-1", {"input_characters": 1_000_000}),
    ("genai-prices", by_genai, "tts-1", {"input_tokens": 1_000_000}),
    ("genai-prices", by_genai, "gpt-4o-mini-tts", {"output_audio_tokens": 1_000_000, "output_tokens": 1_000_000}),
    ("genai-prices", by_genai, "gpt-4o-mini-tts", {"input_characters": 1_000_000}),
    ("genai-prices", by_genai, "whisper-1", {"audio_seconds": 3600}),
    ("genai-prices", by_genai, "gpt-4o-transcribe", {"audio_seconds": 3600}),
    ("genai-prices", by_genai, "tts-9", {"input_characters": 1_000_000}),
    ("litellm", by_litellm, "tts-1", {"prompt_characters": 1_000_000, "call_type": "speech"}),
    ("litellm", by_litellm, "tts-1", {"prompt_characters": 1_000_000}),
    ("litellm", by_litellm, "tts-9", {"prompt_characters": 1_000_000}),
):
    try:
        told = f"{float(price(model, **usage)):.2f} dollars"
    except Exception as error:
        told = type(error).__name__
    print(f"{name}, {model}, {', '.join(f'{unit}={amount}' for unit, amount in usage.items())}: {told}")
PY
"$dir/env/bin/python" "$dir/look.py" | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
genai-prices, tts-1, input_characters=1000000: 15.00 dollars
genai-prices, tts-1, input_tokens=1000000: 0.00 dollars
genai-prices, gpt-4o-mini-tts, output_audio_tokens=1000000, output_tokens=1000000: 12.00 dollars
genai-prices, gpt-4o-mini-tts, input_characters=1000000: 0.00 dollars
genai-prices, whisper-1, audio_seconds=3600: 0.36 dollars
genai-prices, gpt-4o-transcribe, audio_seconds=3600: 0.00 dollars
genai-prices, tts-9, input_characters=1000000: LookupError
litellm, tts-1, prompt_characters=1000000, call_type=speech: 15.00 dollars
litellm, tts-1, prompt_characters=1000000: 0.00 dollars
litellm, tts-9, prompt_characters=1000000: BadRequestError
SEEN
