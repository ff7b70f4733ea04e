"""What LiveKit's forkserver imports for us, so that not every job process has to.

Imports, the price book and our version, and nothing else: no patch, thread, socket or provider.
Whatever a worker's settings ask for is done in each job process, by
:func:`~runguard_otel.instrumentor.instrument_process`.
"""

from __future__ import annotations

import logging

__all__: list[str] = []

logger = logging.getLogger("runguard_otel")

try:
    from runguard_otel.instrumentor import load

    load()
except Exception:  # the forkserver would end with it, and with that every call of this worker
    logger.debug("nothing was preloaded; each job process imports it itself", exc_info=True)
