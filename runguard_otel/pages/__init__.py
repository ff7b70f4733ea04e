"""HTML pages for people: one file each, light and dark, readable on a phone and on paper.

The demonstration's report, the estimate and the preview of dashboards share the frame and its base
style; each brings a fragment, a ``<style>`` element with what is its own and then the body.
Standard library only, so that any layer may make a page.
"""

from __future__ import annotations

import errno
import os
import tempfile
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

__all__ = ["fragment", "framed", "probe", "write"]

_FRAME: Final = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>$title</title>
<style>
$base$style</style>
</head>
<body>
$body</body>
</html>
"""
)


def fragment(package: str) -> str:
    """The fragment of a page: ``page.html`` of that package.

    Args:
        package: Its dotted name.
    """
    return resources.files(package).joinpath("page.html").read_text(encoding="utf-8")


def framed(title: str, filled: str) -> str:
    """A whole page.

    Args:
        title: For the browser's tab; plain text.
        filled: A fragment with its values in place.
    """
    style, _, body = filled.partition("</style>")
    base = resources.files(__name__).joinpath("base.css").read_text(encoding="utf-8")
    return _FRAME.substitute(
        title=escape(title),
        base=base,
        style=style.partition("<style>")[2].lstrip("\n"),
        body=body.lstrip("\n"),
    )


def write(path: Path, page: str) -> None:
    """Write a page whole or not at all; its folder is made if it is missing.

    Args:
        path: The file.
        page: What :func:`framed` made.

    Raises:
        OSError: If it cannot be written; a file that was there is then as it was.
    """
    name = _begin(path)
    try:
        Path(name).write_text(page, encoding="utf-8")
        os.chmod(name, 0o644 & ~_umask())
        os.replace(name, path)
    except BaseException as error:
        os.unlink(name)
        if isinstance(error, OSError):
            error.filename = str(path)  # the name the user knows
        raise


def probe(path: Path) -> None:
    """Ask whether a page can be written, before the long work that it is to show.

    Args:
        path: The file; its folder is made if it is missing.

    Raises:
        OSError: If it cannot be written.
    """
    if path.is_dir():
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
    os.unlink(_begin(path))


def _begin(path: Path) -> str:
    """An empty file beside ``path``, in a folder that is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name[:40]}.")
    except OSError as error:
        error.filename = str(path)  # the name the user knows
        raise
    os.close(handle)
    return name


def _umask() -> int:
    now = os.umask(0o077)
    os.umask(now)
    return now
