"""One real agent process, run in any of LiveKit's ways, with or without a terminal."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

REPOSITORY = Path(__file__).parents[2]
AGENT = Path(__file__).with_name("executor_agent.py")
SOUND_CARD = Path(__file__).with_name("sound_card")

GUARDS = [
    "job_dispatch",
    "job_processes",
    "room_reconnect",
    "session_overrun",
    "telemetry",
    "track_subscribe",
    "vad_misfire",
]
"""The guards, what they report to, and how job processes are reached."""

_UNCLEAN = (
    "Traceback",
    "Task was destroyed",
    "was never awaited",
    "was never retrieved",
    "may prevent the process from exiting",
    "did not exit in time",
)
_COLOURS = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@dataclass
class Run:
    """A running agent.

    Args:
        folder: Where its steps and its log are.
        temporary: Its directory for temporary files, short enough for sockets.
        process: The process that was started.
        keyboard: The terminal's other end, or -1.
    """

    folder: Path
    temporary: Path
    process: asyncio.subprocess.Process
    keyboard: int = -1

    def steps(self, what: str) -> list[dict[str, Any]]:
        """The agent's steps of that name so far."""
        file = self.folder / "steps"
        lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
        return [step for line in lines if (step := json.loads(line))["step"] == what]

    async def step(self, what: str, count: int = 1) -> dict[str, Any]:
        """Wait for a step; the ``count``-th of that name."""
        await self.until(lambda: len(self.steps(what)) >= count)
        return self.steps(what)[count - 1]

    async def until(self, condition: Callable[[], Any], seconds: float = 120) -> Any:
        """Wait for something to be true, while the process lives."""
        deadline = time.monotonic() + seconds
        while not (value := condition()):
            assert self.process.returncode is None, f"ended with {self.process.returncode}"
            assert time.monotonic() < deadline, "did not happen in time"
            await asyncio.sleep(0.05)
        return value

    def log(self) -> str:
        """What it and its job processes wrote, without colours."""
        return _COLOURS.sub("", (self.folder / "log").read_text(encoding="utf-8", errors="replace"))

    def said(self, text: str) -> int:
        """How often the log has that text, wherever lines are broken."""
        return " ".join(self.log().split()).count(text)

    def type(self, text: str) -> None:
        """Press keys."""
        for key in text:
            os.write(self.keyboard, key.encode())
            time.sleep(0.01)

    async def end(self, how: int = signal.SIGTERM, seconds: float = 15) -> int:
        """End it as a user or a supervisor would; it must be gone promptly. Its exit code."""
        self.process.send_signal(how)
        return await asyncio.wait_for(self.process.wait(), seconds)

    async def settled(self) -> None:
        """Wait for the process in reserve, ten seconds at most: to be called before the end.

        LiveKit tells one that still starts to go by a signal. Its handler imports: in the middle of
        an import that fails in it, without us too.
        """
        with contextlib.suppress(TimeoutError, asyncio.TimeoutError):
            await asyncio.wait_for(self.until(self._reserve_is_up), 10)

    def _reserve_is_up(self) -> bool:
        ready = self.said("process initialized") + self.said("job runner initialized")
        return ready >= self.said("initializing process") + self.said("initializing job runner")

    async def ends_cleanly(self, how: int = signal.SIGTERM) -> None:
        """It ends at once, with exit code 0, no error in the log and no file left behind."""
        await self.settled()
        assert await self.end(how) == 0
        log = self.log()
        assert not [sign for sign in _UNCLEAN if sign in log]
        assert not list(self.temporary.glob("runguard-*"))


def running(
    folder: Path, *command: str, **environment: str
) -> contextlib.AbstractAsyncContextManager[Run]:
    """Run a command without a terminal, in an environment without our settings.

    Args:
        folder: A fresh directory.
        command: The program and its arguments.
        **environment: More variables.
    """
    return _running(folder, command, environment, terminal=False)


def in_a_terminal(
    folder: Path, *command: str, **environment: str
) -> contextlib.AbstractAsyncContextManager[Run]:
    """As :func:`running`, with a screen, a keyboard and a sound card."""
    return _running(folder, command, environment, terminal=True)


@contextlib.asynccontextmanager
async def _running(
    folder: Path, command: tuple[str, ...], environment: dict[str, str], *, terminal: bool
) -> AsyncIterator[Run]:
    temporary = Path(tempfile.mkdtemp(prefix="rg-"))
    inherited = {k: v for k, v in os.environ.items() if not k.startswith(("RUNGUARD_", "OTEL_"))}
    given = {
        **inherited,
        "PYTHONPATH": os.pathsep.join([str(REPOSITORY), *([str(SOUND_CARD)] if terminal else [])]),
        "PYTHONWARNINGS": "ignore",
        "TMPDIR": str(temporary),
        "COLUMNS": "200",
        "RUNGUARD_CLAIMS_URL": f"sqlite://{temporary}/claims.sqlite3",
        "RUNGUARD_METRICS_PORT": "0",
        "RG_STEPS": str(folder / "steps"),
        **environment,
    }
    keyboard, screen = os.openpty() if terminal else (-1, -1)
    with (folder / "log").open("wb") as log:
        out = screen if terminal else log
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=given,
            stdin=screen if terminal else asyncio.subprocess.DEVNULL,
            stdout=out,
            stderr=out,
            start_new_session=True,
            preexec_fn=_listen_to_ctrl_c,
        )
    if terminal:
        os.close(screen)
        threading.Thread(target=_watch, args=(keyboard, folder / "log"), daemon=True).start()
    run = Run(folder, temporary, process, keyboard)
    try:
        yield run
    finally:
        if sys.exc_info()[1] is not None:
            print(run.log())
        if process.returncode is None:
            os.killpg(process.pid, signal.SIGINT)  # as a terminal does, to all of them
            try:
                await asyncio.wait_for(process.wait(), 10)
            except asyncio.TimeoutError:
                os.killpg(process.pid, signal.SIGKILL)
                await process.wait()
        if terminal:
            os.close(keyboard)
        shutil.rmtree(temporary, ignore_errors=True)


def _listen_to_ctrl_c() -> None:
    """What a shell starts in the background ignores it, and so do all processes it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def _watch(keyboard: int, log: Path) -> None:
    """Copy the screen to the log until the terminal is closed."""
    with log.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while data := os.read(keyboard, 65536):
            file.write(data)
