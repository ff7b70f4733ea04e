"""What is exported is what its readers take: the operator, kustomize, Mimir, Grafana.

The operator's objects are checked against its own schemas. Of a ConfigMap, a kustomization, a rule
namespace of Mimir and Grafana's provisioning we state ourselves what their readers require.
"""

from __future__ import annotations

import copy
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from alerts.clouds import grafana_files, mimir_files
from alerts.kubernetes import kubernetes_files
from alerts.rules import alerts, rule_files
from alerts.tuning import Tuning
from alerts.yamlfile import as_yaml
from runguard_otel.telemetry.export import DEFAULT_PORT

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
SCHEMAS = ROOT / "tests" / "schemas" / "prometheus_operator"
OPERATOR = ("PodMonitor", "PrometheusRule", "AlertmanagerConfig")
BOARDS = {p.name: p.read_text() for p in (ROOT / "dashboards" / "generated").glob("*.json")}
TUNING = Tuning()


def read(text: str) -> Any:
    """As PyYAML does, in C where that is built."""
    return yaml.load(text, getattr(yaml, "CSafeLoader", yaml.SafeLoader))


FILES = kubernetes_files(TUNING, BOARDS, "watching", {"release": "prometheus"})
OBJECTS = {name: read(text) for name, text in FILES.items()}


def schema(kind: str) -> Any:
    return json.loads((SCHEMAS / f"{kind}.json").read_text())


def of(kind: str) -> Any:
    (found,) = (o for o in OBJECTS.values() if o["kind"] == kind)
    return found


@pytest.mark.parametrize("kind", OPERATOR)
def test_the_operator_takes_its_objects(kind: str) -> None:
    jsonschema.validate(of(kind), schema(kind))


@pytest.mark.parametrize(
    ("kind", "path", "value"),
    [
        ("PodMonitor", ("spec", "podMetricsEndpoints", 0, "interval"), "often"),
        ("PodMonitor", ("spec", "podMetricsEndpoint"), []),
        ("PrometheusRule", ("spec", "groups", 0, "rules", 0, "exp"), "up"),
        ("AlertmanagerConfig", ("spec", "route", "group_by"), ["cluster"]),
        ("AlertmanagerConfig", ("spec", "inhibitRules", 0, "sourceMatch", 0, "matchType"), "=="),
    ],
)
def test_the_schemas_notice_a_mistake(kind: str, path: tuple[str | int, ...], value: Any) -> None:
    wrong = copy.deepcopy(of(kind))
    *way, last = path
    place = wrong
    for step in way:
        place = place[step]
    place[last] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema(kind))


def test_routes_below_the_first_are_routes() -> None:
    """The operator's schema leaves them open."""
    route = schema("AlertmanagerConfig")["properties"]["spec"]["properties"]["route"]
    receivers = {r["name"] for r in of("AlertmanagerConfig")["spec"]["receivers"]}
    for each in of("AlertmanagerConfig")["spec"]["route"]["routes"]:
        jsonschema.validate(each, route)
        assert each["receiver"] in receivers


def test_every_object_is_listed_and_lives_in_the_namespace() -> None:
    assert set(of("Kustomization")["resources"]) == FILES.keys() - {"kustomization.yaml"}
    for found in OBJECTS.values():
        if found["kind"] != "Kustomization":
            assert found["metadata"]["namespace"] == "watching"
            assert found["metadata"]["labels"]["release"] == "prometheus"


def test_dashboards_are_config_maps_that_grafanas_sidecar_finds() -> None:
    maps = [o for o in OBJECTS.values() if o["kind"] == "ConfigMap"]
    assert {name: text for m in maps for name, text in m["data"].items()} == BOARDS
    for each in maps:
        assert each["apiVersion"] == "v1"
        assert each["metadata"]["labels"]["grafana_dashboard"] == "1"
        # `kubectl apply` keeps a copy in an annotation, and annotations end at 256 KiB.
        assert len(json.dumps(each)) < 256 * 1024


def test_an_alert_has_the_label_by_which_the_operator_routes_it() -> None:
    """Without it an AlertmanagerConfig gets none of them: it is matched by namespace."""
    rules = [r for g in of("PrometheusRule")["spec"]["groups"] for r in g["rules"]]
    told = [r for r in rules if "alert" in r]
    assert {r["alert"] for r in told} == {a.name for a in alerts(TUNING)}
    assert {r["labels"]["namespace"] for r in told} == {"watching"}


def test_expressions_and_words_are_those_of_the_rule_files() -> None:
    exported = {g["name"]: g["rules"] for g in of("PrometheusRule")["spec"]["groups"]}
    for text in rule_files(TUNING).values():
        for group in yaml.safe_load(text)["groups"]:
            mine = [{k: v for k, v in r.items() if k != "labels"} for r in exported[group["name"]]]
            assert mine == [{k: v for k, v in r.items() if k != "labels"} for r in group["rules"]]


def test_inhibitions_and_details_are_those_of_the_alertmanager_file() -> None:
    ours = of("AlertmanagerConfig")["spec"]
    theirs = yaml.safe_load((ROOT / "alerts" / "alertmanager.yml").read_text())
    assert [r["equal"] for r in ours["inhibitRules"]] == [
        r["equal"] for r in theirs["inhibit_rules"]
    ]
    for mine, shipped in zip(ours["inhibitRules"], theirs["inhibit_rules"], strict=True):
        for side, match in (("source_matchers", "sourceMatch"), ("target_matchers", "targetMatch")):
            assert [f'{m["name"]}{m["matchType"]}"{m["value"]}"' for m in mine[match]] == shipped[
                side
            ]
    (pagerduty,) = ours["receivers"][0]["pagerdutyConfigs"]
    (shipped,) = theirs["receivers"][0]["pagerduty_configs"]
    assert {d["key"]: d["value"] for d in pagerduty["details"]} == shipped["details"]
    assert pagerduty["severity"] == shipped["severity"]


def test_kustomize_builds_what_is_exported(tmp_path: Path) -> None:
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not on PATH")
    for name, text in FILES.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    done = subprocess.run(
        [kubectl, "kustomize", str(tmp_path)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    built = re.findall(r"^kind: (\w+)$", done.stdout, re.MULTILINE)
    assert sorted(built) == sorted(o["kind"] for o in OBJECTS.values() if o["kind"][0] != "K")


def test_mimirs_file_is_one_namespace_with_every_group() -> None:
    (text,) = mimir_files(TUNING).values()
    found = yaml.safe_load(text)
    assert set(found) == {"namespace", "groups"}
    assert re.fullmatch(r"[\w-]+", found["namespace"])
    shipped = [g for t in rule_files(TUNING).values() for g in yaml.safe_load(t)["groups"]]
    assert found["groups"] == shipped
    assert len({g["name"] for g in found["groups"]}) == len(shipped)


def grafana() -> list[Any]:
    found = read(grafana_files(TUNING, "mimir-eu")["runguard-alerting.yaml"])
    assert found["apiVersion"] == 1
    for group in found["groups"]:
        assert set(group) == {"orgId", "name", "folder", "interval", "rules"}
    return [rule for group in found["groups"] for rule in group["rules"]]


def test_grafanas_rules_have_what_its_provisioning_requires() -> None:
    rules = grafana()
    assert {r["title"] for r in rules} == {a.name for a in alerts(TUNING)} - {"RunguardWatchdog"}
    assert len({r["uid"] for r in rules}) == len(rules)
    for rule in rules:
        assert re.fullmatch(r"[\w-]{1,40}", rule["uid"])
        assert rule["noDataState"] in ("OK", "Alerting", "NoData", "KeepLast")
        assert rule["execErrState"] in ("OK", "Alerting", "Error", "KeepLast")
        refs = [part["refId"] for part in rule["data"]]
        assert rule["condition"] == refs[-1]
        assert len(set(refs)) == len(refs)
        asked = [p for p in rule["data"] if p["datasourceUid"] != "__expr__"]
        assert [(p["datasourceUid"], p["model"]["instant"]) for p in asked] == [("mimir-eu", True)]
        assert asked[0]["relativeTimeRange"]["from"] > asked[0]["relativeTimeRange"]["to"] == 0


def test_grafanas_words_know_the_value_by_its_name_there() -> None:
    """Mutant: `$value`, which in Grafana is a sentence on all parts of the condition."""
    named = {p["refId"] for p in grafana()[0]["data"]}
    texts = [text for rule in grafana() for text in rule["annotations"].values()]
    assert not any(re.search(r"\$value\b", text) for text in texts)
    asked = {name for text in texts for name in re.findall(r"\$values\.(\w+)\.Value", text)}
    assert asked
    assert asked <= named
    # Grafana fills variables of its environment into some fields, but only `${...}`.
    assert not any("${" in text for text in texts)


def test_grafana_asks_for_recordings_that_are_exported_beside_it() -> None:
    recording = grafana_files(TUNING, "x")["recording.yml"]
    made = {r["record"] for g in yaml.safe_load(recording)["groups"] for r in g["rules"]}
    asked = {
        name
        for rule in grafana()
        for name in re.findall(r"service:[\w:]+", rule["data"][0]["model"]["expr"])
    }
    assert asked
    assert asked <= made


@pytest.mark.parametrize(
    "value",
    [
        {"a": ["yes", "no", "1", "1.5", "0x10", "null", "~", "", " a", "a: b", "# a", "- a", "'"]},
        {"a": {"b": {"c": [{"d": 1, "e": [True, None]}, {"f": "x"}]}}, "empty": {}, "none": []},
        {"text": "one\n\n  two\n", "more": "one\ntwo", "odd": "tab\there", "quote": "a \"b\" 'c'"},
        {"on": 1, "a.b/c": 2, "=": 3},
    ],
)
def test_what_is_written_is_what_yaml_reads(value: Any) -> None:
    assert yaml.safe_load(as_yaml(value)) == value


def test_the_pod_in_the_docs_is_the_one_that_is_scraped() -> None:
    """Label, port name and address fit what the PodMonitor and the policy look for."""
    text = (ROOT / "docs" / "kubernetes.md").read_text()
    blocks = [yaml.safe_load(b) for b in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
    deployment, policy = blocks
    pod = deployment["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    (port,) = container["ports"]
    monitor = of("PodMonitor")["spec"]
    assert monitor["selector"]["matchLabels"].items() <= pod["metadata"]["labels"].items()
    assert monitor["podMetricsEndpoints"][0]["port"] == port["name"]
    assert len(port["name"]) <= 15
    assert port["containerPort"] == DEFAULT_PORT
    assert {"name": "OTEL_EXPORTER_PROMETHEUS_HOST", "value": "0.0.0.0"} in container["env"]
    assert policy["spec"]["podSelector"] == monitor["selector"]
    assert policy["spec"]["ingress"][0]["ports"] == [{"protocol": "TCP", "port": DEFAULT_PORT}]
