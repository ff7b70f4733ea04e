"""The catalogue as plain data, to be compared with what the last release promised.

Dashboards and alert rules in the field depend on these names: they may grow, not change. Before a
release run ``python -m runguard_otel.telemetry.catalogue.baseline`` and commit ``baseline.json``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from runguard_otel.telemetry.catalogue import ATTRIBUTES, METRICS, SPANS, prometheus_name

__all__ = ["SAVED", "as_data", "broken_promises"]

SAVED = Path(__file__).with_name("baseline.json")


def as_data() -> dict[str, Any]:
    """Names, kinds, units and closed sets, as they are now."""
    return {
        "metrics": {
            m.name: {
                "kind": m.kind.value,
                "unit": m.unit,
                "prometheus": prometheus_name(m.name),
                "attributes": list(m.attributes),
            }
            for m in METRICS.values()
        },
        "attributes": {
            a.name: {"key": a.key, "values": list(a.values)} for a in ATTRIBUTES.values()
        },
        "spans": list(SPANS),
    }


def broken_promises(released: Mapping[str, Any], now: Mapping[str, Any]) -> Iterator[str]:
    """What was released and is gone or different now, one sentence each.

    Args:
        released: From ``baseline.json``.
        now: From :func:`as_data`.
    """
    for name, was in released["metrics"].items():
        found = now["metrics"].get(name)
        if found is None:
            yield f"metric {name} is gone"
            continue
        for fact in ("kind", "unit", "prometheus"):
            if found[fact] != was[fact]:
                yield f"metric {name}: {fact} was {was[fact]!r}, is {found[fact]!r}"
        for attribute in set(was["attributes"]) - set(found["attributes"]):
            yield f"metric {name}: attribute {attribute} is gone"
    for name, was in released["attributes"].items():
        found = now["attributes"].get(name)
        if found is None:
            yield f"attribute {name} is gone"
            continue
        if found["key"] != was["key"]:
            yield f"attribute {name}: key was {was['key']!r}, is {found['key']!r}"
        for value in set(was["values"]) - set(found["values"]):
            yield f"attribute {name}: value {value!r} is gone"
    for name in set(released["spans"]) - set(now["spans"]):
        yield f"span {name} is gone"


if __name__ == "__main__":
    SAVED.write_text(json.dumps(as_data(), indent=1) + "\n")
