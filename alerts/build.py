"""The generator that ``make generate`` runs."""

from __future__ import annotations

from pathlib import Path

from .promtool import test_files
from .routes import route_files
from .rules import rule_files
from .tuning import Tuning

__all__ = ["generated"]

HERE = Path(__file__).resolve().parent


def generated() -> dict[Path, str]:
    """The committed rules and routes, and their stories for ``promtool test rules``."""
    files = {HERE / "generated" / name: text for name, text in rule_files(Tuning()).items()}
    files |= {HERE / name: text for name, text in route_files(Tuning()).items()}
    return files | {HERE / "tests" / name: text for name, text in test_files().items()}
