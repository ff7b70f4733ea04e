"""Write the JSON schemas of the operator's objects that ``export kubernetes`` makes.

Usage: ``python make.py FOLDER`` with ``example/prometheus-operator-crd`` of the operator's
repository, here of release 0.93.0. Descriptions go, and a field that a schema does not name is
refused: a cluster would drop it silently.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).resolve().parent
KINDS = ("alertmanagerconfigs", "podmonitors", "prometheusrules")
RECEIVERS = {
    "name",
    "pagerdutyConfigs",
    "webhookConfigs",
}  # the others are 60 KiB that we never use


def strict(schema: Any) -> Any:
    """A schema without prose, closed against unknown fields."""
    if isinstance(schema, list):
        return [strict(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {
        name: strict(value)
        for name, value in schema.items()
        if not (name == "description" and isinstance(value, str)) and not name.startswith("x-")
    }
    if isinstance(kept.get("properties"), dict) and kept.get("type") == "object":
        kept.setdefault("additionalProperties", False)
    return kept


def main(folder: Path) -> None:
    """Write them all."""
    # In YAML 1.1 a bare `=` is a type of its own, and one of the operators of a matcher.
    yaml.SafeLoader.add_constructor("tag:yaml.org,2002:value", lambda _, node: node.value)
    for kind in KINDS:
        definition = yaml.safe_load((folder / f"monitoring.coreos.com_{kind}.yaml").read_text())
        (version,) = definition["spec"]["versions"]
        schema = strict(version["schema"]["openAPIV3Schema"])
        schema["properties"].pop("status", None)
        if kind == "alertmanagerconfigs":
            spec = schema["properties"]["spec"]["properties"]
            del spec["muteTimeIntervals"]  # nor these, with patterns that only Go reads
            receiver = spec["receivers"]["items"]
            own = receiver["properties"]
            receiver["properties"] = {name: own[name] for name in own if name in RECEIVERS}
        names = definition["spec"]["names"]
        text = json.dumps(schema, separators=(",", ":"), sort_keys=True)
        text = text.replace('"^(?i)', '"(?i)^')  # Go's flags may stand anywhere
        (HERE / f"{names['kind']}.json").write_text(f"{text}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
