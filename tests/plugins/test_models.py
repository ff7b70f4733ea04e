"""Language models and voices of released plugins: each request is on the bill once.

What they report is compared with ``facts/billing.json`` by the laboratory.
"""

from __future__ import annotations

from typing import Any

import pytest

from tests.plugins.lab.bill import BEGUN, TEXT, UNHEARD, WHOLE, requesting
from tests.plugins.lab.models import LANGUAGE_MODELS, VOICES
from tests.plugins.lab.products import Product, installed

pytestmark = pytest.mark.livekit

FOUND = [
    (kind, found)
    for kind, table in (("llm", LANGUAGE_MODELS), ("tts", VOICES))
    for found in installed(of=table)
]

if not any(found[0].plugin == "anthropic" for _, found in FOUND):
    pytest.skip("the plugins are not here: run `make test-plugins`", allow_module_level=True)


@pytest.mark.parametrize(("kind", "found"), FOUND, ids=[f[0].key for _, f in FOUND])
async def test_each_request_of_a_model_is_billed_once(
    kind: str, found: tuple[Product, Any, str]
) -> None:
    """Given up, interrupted and whole: fails if one is lost, or is counted with the next."""
    product, module, _ = found
    async with requesting(kind, product, module, UNHEARD) as (request, script):
        await request.make(lambda: script.asked > 0)
        if script.begins:
            script.pause = BEGUN
            await request.make(lambda: request.heard > 0)
        script.pause = WHOLE
        await request.make()
        seen = request.desk.meter.seen
    assert len(seen) == 2 + script.begins
    assert {(usage.component, usage.model) for usage in seen} == {(kind, seen[0].model)}
    given_up = seen[0].quantities
    assert given_up == {"requests": 1} if kind == "llm" else given_up["characters"] == len(TEXT)
    assert seen[-1].quantities.get("requests") is None
