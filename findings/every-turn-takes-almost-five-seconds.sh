#!/usr/bin/env bash
# livekit-agents 1.8.9 with opentelemetry-sdk 1.45.2 as it comes: what LiveKit's own latency histograms can tell.
#
# Guess: how long a model takes. gen_ai.client.operation.duration and its like are histograms in seconds, and
#        histogram_quantile() on them is within a bucket's width, some tenths of a second.
# Seen:  the instruments name no boundaries, so they get the SDK's, which were made for milliseconds: 0, 5, 10, 25
#        and so on. All replies up to five seconds are in one bucket, and the 95th percentile that is worked out of
#        it is 4.75 s for a model that takes 0.2 s, and 4.75 s for one that takes 2. The conventions that give the
#        metric its name give boundaries, too: 0.01, 0.02, 0.04 ... A view in one's own provider is the way out.
# Hurts: an alert at three seconds fires always, and no alert sees that replies have become ten times slower.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT
python3 -m venv "$dir/env"
"$dir/env/bin/pip" install -q --disable-pip-version-check livekit-agents==1.8.9 opentelemetry-sdk==1.45.2
cat >"$dir/look.py" <<'PY'
import asyncio
import logging
import sys

from livekit.agents import Agent, AgentSession, llm
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.metrics.view import ExplicitBucketHistogramAggregation, View

logging.disable(logging.CRITICAL)
NAME, TAKES, VIEW = "gen_ai.client.operation.duration", float(sys.argv[1]), sys.argv[2] == "view"
BOUNDS = [0.01 * 2**power for power in range(14)]


class Model(llm.LLM):
    def chat(self, *, chat_ctx, conn_options, tools=None, **_):
        return Reply(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=conn_options)


class Reply(llm.LLMStream):
    async def _run(self):
        await asyncio.sleep(TAKES)
        self._event_ch.send_nowait(llm.ChatChunk(id="r", delta=llm.ChoiceDelta(content="Hello")))


def quantile(share, point):  # as Prometheus works it out: evenly spread within a bucket
    wanted, before = share * point.count, 0
    for place, (count, upper) in enumerate(zip(point.bucket_counts, point.explicit_bounds, strict=False)):
        if before + count >= wanted:
            lower = point.explicit_bounds[place - 1] if place else 0
            return lower + (upper - lower) * (wanted - before) / count
        before += count
    return point.explicit_bounds[-1]


async def main():
    reader = InMemoryMetricReader()
    view = View(instrument_name=NAME, aggregation=ExplicitBucketHistogramAggregation(BOUNDS))
    metrics.set_meter_provider(MeterProvider([reader], views=[view] if VIEW else []))
    session = AgentSession(llm=Model(), vad=None)
    await session.start(Agent(instructions="Be brief."))
    for _ in range(3):
        await session.generate_reply(user_input="Hello").wait_for_playout()
    await session.aclose()
    for resource in reader.get_metrics_data().resource_metrics:
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            if metric.name == NAME:
                (point,) = metric.data.data_points
                found = quantile(0.95, point)
                told = f"{found:.2f}" if not VIEW else f"between {TAKES / 2} and {TAKES * 2}"
                assert not VIEW or TAKES / 2 < found < TAKES * 2, found
                print(f"takes {TAKES} s, {sys.argv[2]}: in {metric.unit}, 95th percentile {told}")


asyncio.run(main())
PY
for takes in 0.2 2; do
  for bounds in as-it-comes view; do
    "$dir/env/bin/python" -W ignore "$dir/look.py" $takes $bounds
  done
done | tee "$dir/seen"
diff "$dir/seen" - <<'SEEN'
takes 0.2 s, as-it-comes: in s, 95th percentile 4.75
takes 0.2 s, view: in s, 95th percentile between 0.1 and 0.4
takes 2.0 s, as-it-comes: in s, 95th percentile 4.75
takes 2.0 s, view: in s, 95th percentile between 1.0 and 4.0
SEEN
