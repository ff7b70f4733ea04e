"""Heavy imports happen where no event loop waits for them."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading

import pytest
from livekit.agents.ipc.job_proc_lazy_main import _JobProc
from livekit.agents.ipc.proc_pool import ProcPool

from runguard_otel.adapters.livekit.dispatch import hooks as dispatch
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.claims.service import ClaimService
from runguard_otel.settings import Settings
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.host_contract

LOAD_AND_OPEN = """
import sys
from runguard_otel.claims.registries.open import load, open_registry
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings
load(sys.argv[1])
before = set(sys.modules)
assert sys.argv[2] in {"", *before}, "not loaded"
try:
    open_registry(sys.argv[1], Settings())
except SettingsError:
    print("refused", end=" ")
more = {name.partition(".")[0] for name in set(sys.modules) - before}
print("more:", *sorted(more - {"runguard_otel", "encodings"}))
"""


@pytest.mark.parametrize(
    ("url", "client", "said"),
    [
        ("redis://h:6379", "redis.asyncio.client", "more:"),
        ("postgresql://h/d", "psycopg", "more:"),
        ("postgresql://h/d?driver=asyncpg", "asyncpg", "more:"),
        ("dynamodb://t?region=r", "aiobotocore.session", "more:"),
        ("", "", "more:"),
        ("nothing://like-it", "", "refused more:"),
    ],
)
def test_opening_a_registry_imports_nothing_that_was_not_loaded_ahead(
    url: str, client: str, said: str
) -> None:
    if client:
        pytest.importorskip(client.partition(".")[0])
    done = subprocess.run(
        [sys.executable, "-c", LOAD_AND_OPEN, url, client],
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.strip(), done.stderr) == (said, "")


class Watched(ClaimService):
    """Notes in which thread it loads, and whether a loop runs there."""

    def __init__(self) -> None:
        super().__init__(Settings(), lambda: "w")
        self.loaded: list[tuple[int, bool]] = []
        self.done = threading.Event()

    def load(self) -> None:
        try:
            asyncio.get_running_loop()
            loop = True
        except RuntimeError:
            loop = False
        self.loaded.append((threading.get_ident(), loop))
        self.done.set()


@pytest.mark.parametrize("owner", [_JobProc, ProcPool])
async def test_a_job_process_loads_before_its_loop_and_a_worker_beside_it(owner: type) -> None:
    services = Services(Settings(), MemoryRecorder())
    services.claims = desk = Watched()

    class Emitter:
        def on(self, *_: object) -> None: ...
        def off(self, *_: object) -> None: ...

    (patch,) = [
        p for p in dispatch.patches(services) if p.owner is owner and p.attribute == "__init__"
    ]

    def build() -> None:
        patch.wrapper(lambda *_, **__: None, Emitter(), (), {})

    if owner is ProcPool:
        build()  # the worker's loop runs
    else:
        await asyncio.to_thread(build)  # none does
    assert await asyncio.to_thread(desk.done.wait, 5)
    assert [loop for _, loop in desk.loaded] == [False]
