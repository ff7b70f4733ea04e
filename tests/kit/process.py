"""One real server process: started on a free port in a directory of its own, stopped by its pid."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tests.kit.ports import free_port, listening

Argv = Callable[[int, Path], Sequence[str]]
Ready = Callable[[int], bool]


class NotInstalled(Exception):
    """A server is not on this machine. The message says how to get it."""


class DidNotStart(Exception):
    """A server ended or stayed silent; the message holds the tail of its log."""


def http_ready(path: str) -> Ready:
    """Ready when ``GET path`` answers 200."""

    def ready(port: int) -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=1) as reply:
                return bool(reply.status == 200)
        except (OSError, urllib.error.URLError):
            return False

    return ready


@dataclass
class Server:
    """A running server.

    Args:
        name: For messages.
        argv: Command line, made from the port and the directory.
        ready: Whether it serves on that port.
        env: Environment on top of ours.
        user: System user to run as when we are root; some servers refuse root.
        start_seconds: Bound on its start.
    """

    name: str
    argv: Argv
    ready: Ready = listening
    env: Mapping[str, str] = field(default_factory=dict)
    user: str | None = None
    start_seconds: float = 30
    port: int = 0
    directory: Path = field(init=False)
    process: subprocess.Popen[bytes] = field(init=False)

    def __post_init__(self) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix=f"runguard-{self.name}-"))
        if (account := self._account()) is not None:
            os.chown(self.directory, account.pw_uid, account.pw_gid)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        return self.process.pid

    def _account(self) -> pwd.struct_passwd | None:
        if self.user is None or os.geteuid() != 0:
            return None
        try:
            return pwd.getpwnam(self.user)
        except KeyError:
            return pwd.getpwnam("nobody")

    def run(self, argv: Sequence[str]) -> None:
        """Run a command to its end as the server's user, in its directory."""
        account = self._account()
        done = subprocess.run(
            argv,
            cwd=self.directory,
            user=account.pw_uid if account else None,
            group=account.pw_gid if account else None,
            extra_groups=[] if account else None,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode:
            raise DidNotStart(f"{argv[0]}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    def start(self) -> Server:
        """Start it, on another port if somebody took ours meanwhile. A set port is kept."""
        fixed = bool(self.port)
        for attempt in range(3):
            self.port = self.port if fixed else free_port()
            try:
                self._start()
                return self
            except DidNotStart:
                if fixed or attempt == 2:
                    raise
        raise AssertionError("unreachable")

    def _start(self) -> None:
        account = self._account()
        # The kernel ends the server with us, should the test run itself be killed.
        tie = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
        with (self.directory / "log").open("ab") as log:
            self.process = subprocess.Popen(
                [*tie, *self.argv(self.port, self.directory)],
                cwd=self.directory,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env={**os.environ, **self.env},
                start_new_session=True,
                user=account.pw_uid if account else None,
                group=account.pw_gid if account else None,
                extra_groups=[] if account else None,
            )
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            if self.ready(self.port):
                return
            time.sleep(0.02)
        self.kill()
        raise DidNotStart(f"{self.name} on port {self.port}: {self.log()[-2000:]}")

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def pause(self) -> None:
        self.process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """SIGKILL, as a crash would."""
        self.process.kill()
        self.process.wait()

    def stop(self) -> None:
        """End it (SIGINT: PostgreSQL's fast shutdown, and known to all others) and clean up."""
        if self.process.poll() is None:
            self.resume()
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(5)
            except subprocess.TimeoutExpired:
                self.kill()
        with contextlib.suppress(ProcessLookupError):  # what it may have forked
            os.killpg(self.process.pid, signal.SIGKILL)
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
