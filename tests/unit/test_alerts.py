"""Alerts have what a person woken by them needs; their numbers are data in one place."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from alerts.cases import CASES
from alerts.model import Alert
from alerts.promql import matcher
from alerts.rules import alerts, rule_files, texts
from alerts.tuning import Tuning, TuningError
from runguard_otel.settings import Settings

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
RUNBOOKS = ROOT / "alerts" / "runbooks"
ALERTS = alerts(Tuning())
BOARDS = [json.loads(p.read_text()) for p in (ROOT / "dashboards/generated").glob("*.json")]
RECORDED = {
    rule["record"]
    for group in yaml.safe_load(rule_files(Tuning())["recording.yml"])["groups"]
    for rule in group["rules"]
}
every_alert = pytest.mark.parametrize("alert", ALERTS, ids=lambda a: a.name)


def rules(tuning: Tuning) -> dict[str, Any]:
    """Every alerting rule as Prometheus reads it, by name."""
    loaded = yaml.safe_load(rule_files(tuning)["alerts.yml"])
    return {r["alert"]: r for g in loaded["groups"] for r in g["rules"]}


def test_names_are_unique_and_every_alert_has_a_story() -> None:
    assert len({a.name for a in ALERTS}) == len(ALERTS)
    assert {c.alert for c in CASES} == {a.name for a in ALERTS}


@every_alert
def test_an_alert_says_what_where_and_what_to_do(alert: Alert) -> None:
    rule = rules(Tuning())[alert.name]
    assert rule["labels"]["severity"] in ("page", "ticket", "info", "none")
    assert set(rule["annotations"]) == {"summary", "description", "dashboard_url", "runbook_url"}
    uid = re.search(r"/d/([\w-]+)\?", rule["annotations"]["dashboard_url"])
    assert uid is not None
    assert uid[1] in {b["uid"] for b in BOARDS}
    assert "$value" not in rule["labels"].values()


@every_alert
def test_no_alert_rests_on_what_a_restart_of_prometheus_forgets(alert: Alert) -> None:
    assert {"for", "keep_firing_for"}.isdisjoint(rules(Tuning())[alert.name])


@every_alert
def test_no_text_reads_as_yaml(alert: Alert) -> None:
    """Alertmanager from 0.29 on parses what stands in PagerDuty's details."""
    for text in (alert.summary, alert.description):
        assert not re.search(r"[:#] ", text)


@every_alert
def test_an_alert_has_a_runbook_with_its_four_parts(alert: Alert) -> None:
    text = (RUNBOOKS / f"{alert.name}.md").read_text()
    assert text.startswith(f"# {alert.name}\n")
    found = re.findall(r"^## (.+)$", text, re.MULTILINE)
    assert found == ["Meaning", "Impact", "Diagnosis", "Mitigation"]


@every_alert
def test_a_runbook_ends_with_when_it_is_over_and_whom_to_call(alert: Alert) -> None:
    *_, over, escalate = (RUNBOOKS / f"{alert.name}.md").read_text().strip().split("\n\n")
    assert re.fullmatch(r"\*\*Over when\*\* .*10 minutes.*\.", over, re.DOTALL)
    assert re.fullmatch(
        r"\*\*Escalate\*\* to .*(at once|minutes|hour|working day|week).*\.", escalate
    )
    both = over.replace("(unstopped|stopped)", "stopped")
    for query in re.findall(r"service:[\w:]+", both):
        assert query in RECORDED


@pytest.mark.parametrize("name", ["ClaimLost", "DuplicateDispatch", "DuplicateWork"])
def test_a_runbook_on_claims_says_how_to_see_and_release_one(name: str) -> None:
    text = (RUNBOOKS / f"Runguard{name}.md").read_text()
    assert set(re.findall(r"runguard-otel claims (\w+)", text)) == {"list", "show", "release"}


@every_alert
def test_a_runbook_does_not_lose_the_other_thresholds(alert: Alert) -> None:
    flat = re.sub(r"\s+", " ", (RUNBOOKS / f"{alert.name}.md").read_text())
    for sentence in re.findall(r"--set \w+=\.\.\.`[^.]*\.", flat):
        assert "with the `--set` options you use already, then reload Prometheus" in sentence


def test_there_is_no_runbook_without_an_alert() -> None:
    assert {p.stem for p in RUNBOOKS.glob("*.md")} == {a.name for a in ALERTS}


@every_alert
def test_a_runbook_names_settings_and_panels_that_exist(alert: Alert) -> None:
    text = (RUNBOOKS / f"{alert.name}.md").read_text()
    known = {variable for _, variable, *_ in Settings.table()}
    assert set(re.findall(r"RUNGUARD_[A-Z_]+", text)) <= known
    flat = re.sub(r"\s+", " ", text)
    titles = {p["title"] for b in BOARDS for p in b["panels"]}
    assert set(re.findall(r"[Pp]anel \*([^*]+)\*", flat)) <= titles
    assert set(re.findall(r"[Dd]ashboard \*([^*]+)\*", flat)) <= {b["title"] for b in BOARDS}
    names = {a.name for a in ALERTS}
    assert set(re.findall(r"\bRunguard[A-Z]\w+", text)) <= names
    settable = {name for name, _, _ in Tuning.table()}
    assert set(re.findall(r"--set (\w+)=", text)) <= settable


def test_an_alert_without_a_full_summary_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="summary"):
        Alert("RunguardX", "page", "up", "no full stop", "Fine.", "runguard-overview")


def test_a_value_the_catalogue_does_not_have_cannot_be_matched() -> None:
    with pytest.raises(KeyError):
        matcher("guard", "room_reconect")


def test_a_threshold_is_set_in_one_place() -> None:
    tuning = Tuning.of({"reconnect_trips": "7", "reconnect_severity": "ticket"})
    assert ">= 7" in rule_files(tuning)["recording.yml"]
    changed = rules(tuning)
    rule = changed["RunguardReconnectLoop"]
    assert rule["labels"]["severity"] == "ticket"


def test_a_selector_reaches_every_metric() -> None:
    files = rule_files(Tuning.of({"selector": 'cluster="eu"'}))
    groups = [g for text in files.values() for g in yaml.safe_load(text)["groups"]]
    exprs = "".join(rule["expr"] for group in groups for rule in group["rules"])
    bare = re.sub(r"\b(by|on) \([^)]*\)", "", exprs)  # label names look like metrics
    metrics = re.findall(r"(?<![:\w])runguard_\w+(?=[{ )\[])({[^}]*})?", bare)
    assert len(metrics) > 30
    assert [m for m in metrics if 'cluster="eu"' not in m] == []


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("reconect_trips", "1", "did you mean 'reconnect_trips'"),
        ("reconnect_trips", "0", "at least 1"),
        ("reconnect_trips", "many", "a number"),
        ("reconnect_trips", "nan", "a number"),
        ("reconnect_severity", "critical", "page, ticket, info"),
        ("stopped_memory", "ten", "a duration"),
        ("cluster_label", "k8s.cluster", "letters, digits and _"),
        ("page_name", "P 1", "letters, digits"),
    ],
)
def test_a_bad_value_is_refused_with_its_name_and_what_is_allowed(
    name: str, value: str, says: str
) -> None:
    with pytest.raises(TuningError, match=says) as error:
        Tuning.of({name: value})
    assert name in str(error.value)


def test_links_follow_the_addresses() -> None:
    tuning = Tuning.of({"grafana_url": "https://g.example/", "runbook_url": "https://r.example"})
    made = texts(ALERTS[0], tuning)
    assert made["dashboard_url"].startswith("https://g.example/d/runguard-reconnects?")
    assert made["runbook_url"] == "https://r.example/RunguardReconnectLoop.md"
