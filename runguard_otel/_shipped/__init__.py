"""The dashboards, alerts and deployment files that ship with the package.

A wheel holds them in this folder; in a checkout they are at its top, where they are written. Both
look the same from here: ``ROOT`` has ``dashboards``, ``alerts``, ``deploy`` and
``docker-compose.yml``, and ``runguard_otel._shipped.alerts`` can be imported.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

__all__ = ["ROOT"]

_HERE = Path(__file__).resolve().parent
ROOT: Final = _HERE if (_HERE / "alerts").is_dir() else _HERE.parents[1]
__path__ = [str(ROOT)]
