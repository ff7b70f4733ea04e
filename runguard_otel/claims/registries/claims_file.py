"""The file of ``sqlite://``: where it is, which one it is, and that no other user can touch it."""

from __future__ import annotations

import contextlib
import os
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = [
    "NO_FILE",
    "FileId",
    "alone_in",
    "check_owner",
    "default_path",
    "file_at",
    "looks_like_ours",
    "make_private",
]

FileId = tuple[int, int]
NO_FILE: FileId = (0, 0)


def default_path() -> Path:
    """``runguard-<uid>/claims.sqlite3`` in the temporary directory of this host.

    Local to the host and writable almost everywhere; lost at reboot, which ends every lease anyway.
    Workers that are given different temporary directories (``TMPDIR``, containers) do not share it:
    set ``RUNGUARD_CLAIMS_URL`` for them.
    """
    uid = os.getuid() if hasattr(os, "getuid") else "user"
    return Path(tempfile.gettempdir()) / f"runguard-{uid}" / "claims.sqlite3"


def file_at(path: Path, *, whole: bool = True) -> FileId:
    """Tells files apart, also such as follow each other under one name.

    Args:
        path: Where it is.
        whole: Whether an empty one is none: somebody has emptied it.
    """
    try:
        found = path.stat()
    except FileNotFoundError:
        return NO_FILE
    return NO_FILE if whole and not found.st_size else (found.st_dev, found.st_ino)


def looks_like_ours(path: Path) -> bool:
    """By its name or its first bytes. A mistake in a URL must not move a user's file away."""
    if path.suffix in (".sqlite3", ".sqlite", ".db"):
        return True
    with path.open("rb") as file:
        return file.read(15) == b"SQLite format 3"


@contextlib.contextmanager
def alone_in(folder: Path) -> Iterator[None]:
    """One process at a time, where the system can say so."""
    try:
        import fcntl
    except ImportError:  # Windows, where an open file cannot be moved
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def make_private(path: Path) -> None:
    """Create directory (0700) and file (0600); refuse a directory that somebody else prepared.

    Raises:
        OSError: If the directory is a link, or belongs to another user.
    """
    folder = path.parent
    created = not folder.exists()
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    private = created or path == default_path()
    check_owner(folder, private=private)
    if private and hasattr(os, "getuid") and stat.S_IMODE(folder.lstat().st_mode) != 0o700:
        folder.chmod(0o700)
    try:
        if stat.S_ISLNK(path.lstat().st_mode):
            raise PermissionError("the claims file is a symbolic link")
    except FileNotFoundError:
        # Only where there is none: closing any descriptor of a file drops all locks that this
        # process has on it, also those of another connection.
        with contextlib.suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))


def check_owner(folder: Path, *, private: bool) -> None:
    """Refuse a directory that somebody else prepared.

    Args:
        folder: Where the file is.
        private: Whether it has to be ours alone.

    Raises:
        PermissionError: If it is a link, or belongs to another user.
    """
    if private and hasattr(os, "getuid"):
        seen = folder.lstat()
        if not stat.S_ISDIR(seen.st_mode) or seen.st_uid != os.getuid():
            raise PermissionError("the directory of the claims file belongs to somebody else")
