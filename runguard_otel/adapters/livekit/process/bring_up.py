"""How ``instrument()`` reaches job processes.

A job process runs the user's module as ``__mp_main__``: an ``instrument()`` under
``if __name__ == "__main__"`` never runs there. But LiveKit pickles the user's entrypoint into every
job process, so the worker replaces it by an :class:`Entry`, and unpickling that instruments the
process. It works the same under forkserver and spawn; the thread executor pickles nothing and has
no other process to reach. Up to 1.4 ``dev`` starts the worker itself in another process, the same
way.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from runguard_otel.adapters.hooks import Replace
from runguard_otel.adapters.livekit.services import Services

__all__ = ["BringUp", "Entry"]

EntryPoint = Callable[..., Any]
Payload = Callable[[], dict[str, Any]]
Instrument = Callable[[dict[str, Any]], None]


class Entry:
    """A function that another process is to run, and what that needs to instrument itself.

    Args:
        entrypoint: The user's entrypoint, or LiveKit's function that runs a worker.
        instrument: ``instrumentor.instrument_process``, pickled by its name.
        payload: Makes its argument. Called each time a process is started, so that it may hold what
            was not known before (the hub's address).
    """

    def __init__(self, entrypoint: EntryPoint, instrument: Instrument, payload: Payload) -> None:
        self._set(entrypoint, instrument, payload)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run it."""
        return self._entrypoint(*args, **kwargs)

    def __getstate__(self) -> dict[str, Any]:
        return {
            "entrypoint": self._entrypoint,
            "instrument": self._instrument,
            "payload": self._payload(),
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        state["instrument"](state["payload"])
        self._set(state["entrypoint"], state["instrument"], lambda: state["payload"])

    def _set(self, entrypoint: EntryPoint, instrument: Instrument, payload: Payload) -> None:
        self._entrypoint = entrypoint
        self._instrument = instrument
        self._payload = payload
        functools.update_wrapper(self, entrypoint, updated=())


class BringUp:
    """Makes the processes that a worker starts instrument themselves.

    Args:
        services: Those of the process that starts them.
    """

    def __init__(self, services: Services) -> None:
        self._services = services

    def pool(self, _: Any, job_entrypoint_fnc: Any = None, *__: Any, **___: Any) -> Replace | None:
        """``ProcPool.__init__``: its job processes."""
        bring_up = self._services.bring_up
        if job_entrypoint_fnc is None or bring_up is None:
            return None
        return Replace(job_entrypoint_fnc=Entry(job_entrypoint_fnc, bring_up, self.payload))

    def watcher(self, _: Any, worker_runner: Any, *__: Any, **___: Any) -> Replace | None:
        """``WatchServer.__init__``: the worker process that ``dev`` starts, and starts again."""
        bring_up, settings = self._services.bring_up, self._services.settings.values()
        if bring_up is None:
            return None
        return Replace(worker_runner=Entry(worker_runner, bring_up, lambda: {"settings": settings}))

    def payload(self) -> dict[str, Any]:
        """See ``instrumentor.instrument_process``; made when a process is started."""
        lifecycle = self._services.lifecycle
        return {
            "settings": self._services.settings.values(),
            "worker": self._services.worker,
            "extras": {"hub": lifecycle.hub_address if lifecycle is not None else None},
        }
