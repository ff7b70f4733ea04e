"""What plugins' language models and voices report of a request: ``billing.json``.

``make test-plugins`` runs the plugins and compares; ``docs/models.md`` shows the file.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, Final

__all__ = ["DATA", "REPORTS"]

DATA: Final = Path(__file__).with_name("billing.json")
REPORTS: Final[dict[str, list[dict[str, Any]]]] = json.loads(DATA.read_text(encoding="utf-8"))
"""What was found, one product a row, in order; under ``llm``, ``tts`` and ``realtime``.

A row has ``plugin``, ``product``, ``release``, ``date`` and ``found``: text by measurement, see
``tests/plugins/lab/bill.py`` and ``live.py``; ``note`` where there is more to say;
``unpriced``, why the price book has no row for it.
"""
