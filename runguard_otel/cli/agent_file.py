"""An agent's file, read and never run: it may start an agent."""

from __future__ import annotations

import ast
import errno
from pathlib import Path

__all__ = ["parsed"]


def parsed(agent: Path) -> ast.Module:
    """The file as a syntax tree.

    Args:
        agent: A Python file.

    Raises:
        OSError: If it cannot be read, or is no file: a pipe would be waited for without end.
        SyntaxError: If it is no Python.
        ValueError: If it is no text.
    """
    if agent.exists() and not agent.is_file():
        raise OSError(errno.EINVAL, "is no file", str(agent))
    return ast.parse(agent.read_text(encoding="utf-8"), str(agent))
