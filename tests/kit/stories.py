"""The stories of the alerts, each with no more rules than it needs, as many at a time as cores."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import yaml

__all__ = ["RULES", "STORIES", "Ahead", "only", "read", "with_their_rules"]

ALERTS = Path(__file__).resolve().parents[2] / "alerts"
RULES = {p.name: p.read_text() for p in sorted((ALERTS / "generated").glob("*.yml"))}
STORIES = {
    p.name.removesuffix(".test.yml"): p
    for p in sorted((ALERTS / "tests").glob("*.yml"), key=lambda p: -p.stat().st_size)
}

_RECORDED = re.compile(r"\b\w+(?::\w+)+")

Made = TypeVar("Made")


def read(path: Path) -> Any:
    """A YAML file, by the quick way where that is built."""
    return yaml.load(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))


def with_their_rules(folder: Path, stories: dict[str, Any], rules: dict[str, str] = RULES) -> Path:
    """Write stories, and beside them the rules that decide them; promtool evaluates every rule.

    Args:
        folder: Where to.
        stories: A file of ``promtool test rules``.
        rules: Rule files to take them from.
    """
    wanted = {a["alertname"] for t in stories["tests"] for a in t["alert_rule_test"]}
    (folder / "rules.yml").write_text(only(wanted, rules))
    path = folder / "stories.yml"
    path.write_text(yaml.safe_dump({**stories, "rule_files": ["rules.yml"]}))
    return path


def only(alerts: Iterable[str], rules: Mapping[str, str] = RULES) -> str:
    """One rule file with these alerts and what they read.

    Args:
        alerts: Names of alerts.
        rules: Rule files to take them from.
    """
    groups = [g for text in rules.values() for g in yaml.safe_load(text)["groups"]]
    by_name = {r.get("record") or r["alert"]: r for g in groups for r in g["rules"]}
    wanted = set(alerts)
    waiting = list(wanted)
    while waiting:
        found = set(_RECORDED.findall(by_name[waiting.pop()]["expr"])) & by_name.keys() - wanted
        wanted |= found
        waiting += found
    slim = [
        {**g, "rules": kept}
        for g in groups
        if (kept := [r for r in g["rules"] if (r.get("record") or r["alert"]) in wanted])
    ]
    return yaml.safe_dump({"groups": slim}, sort_keys=False)


class Ahead:
    """Does what several tests will ask for before they ask, on all cores.

    Args:
        work: What to do for one name.
        names: The names; others are done when asked for.
    """

    def __init__(self, work: Callable[[str], Made], names: Iterable[str]) -> None:
        self._work = work
        self._pool = ThreadPoolExecutor(os.cpu_count())
        self._begun: dict[str, Future[Any]] = {n: self._pool.submit(work, n) for n in names}

    def result(self, name: str) -> Any:
        """What came of it."""
        if name not in self._begun:
            self._begun[name] = self._pool.submit(self._work, name)
        return self._begun[name].result()

    def close(self) -> None:
        """Begin nothing any more."""
        self._pool.shutdown(cancel_futures=True)
