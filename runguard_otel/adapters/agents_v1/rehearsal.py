"""Is this job real? Console mode and fake jobs have no room that anybody else could be in."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["in_console", "is_rehearsal"]


def in_console() -> bool:
    """Whether this process was started as ``console``, by the agent's own CLI or by ``lk agent``.

    Up to 1.2 the CLI leaves its arguments behind, later there is one console object. It is only
    looked at: asking for the instance would make one, and open audio devices.
    """
    cli: Any = sys.modules.get("livekit.agents.cli")
    arguments = getattr(getattr(cli, "cli", None), "CLI_ARGUMENTS", None)
    if arguments is not None:
        return bool(getattr(arguments, "console", False))
    console = getattr(getattr(cli, "AgentsConsole", None), "_instance", None)
    return bool(getattr(console, "enabled", False))


def is_rehearsal(ctx: Any | None) -> bool:
    """Whether ``ctx`` is the context of a fake job.

    Before 1.3 a job does not know; the mock room that the console gives it does.
    """
    if ctx is None:
        return False
    asked = getattr(ctx, "is_fake_job", None)
    if asked is not None:
        return asked() is True
    return getattr(getattr(ctx, "_info", None), "fake_job", False) is True or in_console()
