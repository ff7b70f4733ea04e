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

__all__ = ["Entry"]

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
