"""Writes an export: nothing of it, or all; and nothing over what somebody changed."""

from __future__ import annotations

import difflib
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Export"]


@dataclass(frozen=True)
class Export:
    """Files to write below a folder, compared with what is there.

    Args:
        directory: Made if it is not there.
        files: Content by relative path, with ``/``.
    """

    directory: Path
    files: Mapping[str, bytes]

    def path(self, name: str) -> Path:
        """Where one of them goes."""
        return self.directory / name

    def changed(self) -> list[str]:
        """The files that are there already, and say something else.

        Raises:
            OSError: If one cannot be read.
        """
        return [n for n, new in self.files.items() if self._old(n) not in (None, new)]

    def missing(self) -> list[str]:
        """The files that are not there."""
        return [name for name in self.files if self._old(name) is None]

    def diff(self, name: str) -> str:
        """What writing one of them would change, as a unified diff."""
        old = (self._old(name) or b"").decode(errors="replace").splitlines(keepends=True)
        new = self.files[name].decode(errors="replace").splitlines(keepends=True)
        lines = difflib.unified_diff(old, new, f"{self.path(name)}", f"{self.path(name)} (new)")
        return "".join(line if line.endswith("\n") else f"{line}\n" for line in lines)

    def write(self, names: list[str]) -> list[Path]:
        """Write some of the files.

        All are written beside the folder's own first, so that a full disk leaves everything as it
        was; then each takes its place in one step, so that half of one is never read.

        Raises:
            OSError: If one cannot be written.
        """
        self.directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".runguard-", dir=self.directory) as staging:
            for name in names:
                staged = Path(staging, name)
                staged.parent.mkdir(parents=True, exist_ok=True)
                staged.write_bytes(self.files[name])
            for name in names:
                self.path(name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(Path(staging, name), self.path(name))
        return [self.path(name) for name in names]

    def _old(self, name: str) -> bytes | None:
        try:
            return self.path(name).read_bytes()
        except FileNotFoundError:
            return None
