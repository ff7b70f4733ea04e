"""What is run, how, and which data file says what is known of it."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from runguard_otel.adapters.livekit.facts import billing, recognisers
from tests.plugins.lab.bill import billed
from tests.plugins.lab.guarded import recogniser
from tests.plugins.lab.live import REALTIME, lived
from tests.plugins.lab.models import LANGUAGE_MODELS, VOICES
from tests.plugins.lab.products import RECOGNISERS, Product, installed

__all__ = ["TABLES", "Table", "measured"]


class Table(NamedTuple):
    """One kind of model.

    Args:
        file: The data file.
        key: Its list in there.
        products: What is run.
        measure: How.
        columns: What is printed.
    """

    file: Path
    key: str
    products: tuple[Product, ...]
    measure: Any
    columns: tuple[str, ...]


HEARD = (
    *("final", "batch", "noise", "usage", "closed", "flush"),
    *("clear", "unsure", "wordless", "batch_clear", "batch_unsure", "batch_wordless"),
    *("tracks", "tracks_end_input", "tracks_updated"),
)
BILL = ("provider", "model", "reply", "bill", "interrupted", "interrupted_bill", "unheard")
TABLES = {
    "stt": Table(recognisers.DATA, "recognisers", RECOGNISERS, recogniser, HEARD),
    "llm": Table(billing.DATA, "llm", LANGUAGE_MODELS, partial(billed, "llm"), BILL),
    "realtime": Table(billing.DATA, "realtime", REALTIME, lived, (*BILL, "hung_up")),
    "tts": Table(billing.DATA, "tts", VOICES, partial(billed, "tts"), BILL),
}


def measured(kind: str, key: str) -> dict[str, Any]:
    """What one product does."""
    table = TABLES[kind]
    product = next(product for product in table.products if product.key == key)
    ((_, module, release),) = installed(of=[product])
    found: dict[str, Any] = asyncio.run(table.measure(product, module, release))
    return found
