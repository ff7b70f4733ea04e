from __future__ import annotations

import inspect
import json
import subprocess
import sys
from typing import Any

import pytest

from runguard_otel.telemetry.views import PER_CALL
from tests.kit.host import HAS_METRICS

pytestmark = [
    pytest.mark.livekit,
    pytest.mark.skipif(not HAS_METRICS, reason="this release has no metrics of its own"),
]

# The global meter provider can be set once per process, and LiveKit uses only the global one.
CODE = """
import json
from opentelemetry import metrics
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from runguard_otel.telemetry.views import livekit_views
reader = InMemoryMetricReader()
metrics.set_meter_provider(MeterProvider([reader], views=livekit_views() if {views} else []))
from livekit.agents.telemetry import otel_metrics
for call in range(50):
    otel_metrics._job_attrs = lambda: {{"room_id": f"RM_{{call}}", "job_id": f"AJ_{{call}}"}}
    attributes = {{**otel_metrics._job_attrs(), "model_name": "m"}}
    meter = metrics.get_meter("livekit-agents")
    meter.create_counter("lk.agents.usage.llm_input_tokens").add(1, attributes)
    metrics.get_meter("mine").create_counter("mine").add(1, attributes)
data = reader.get_metrics_data()
points = {{m.name: [(dict(p.attributes), p.value) for p in m.data.data_points]
          for r in data.resource_metrics for s in r.scope_metrics for m in s.metrics}}
print(json.dumps(points))
"""


def points(views: bool) -> dict[str, list[Any]]:
    code = CODE.format(views=views)
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    found: dict[str, list[Any]] = json.loads(out.stdout)
    return found


def test_livekits_metrics_lose_what_differs_per_call_and_nothing_else() -> None:
    found = points(views=True)
    assert found["lk.agents.usage.llm_input_tokens"] == [[{"model_name": "m"}, 50]]
    assert len(found["mine"]) == 50


def test_without_the_views_every_call_is_a_series_of_its_own() -> None:
    assert len(points(views=False)["lk.agents.usage.llm_input_tokens"]) == 50


def test_the_attributes_are_the_ones_livekit_adds_per_call() -> None:
    from livekit.agents.telemetry import otel_metrics

    per_call = getattr(otel_metrics, "_job_attrs", None)
    if per_call is None:
        pytest.skip("this release adds nothing per call")
    source = inspect.getsource(per_call)
    assert all(f'"{name}"' in source for name in PER_CALL)
