"""Executed bytecodes: the same at every run, also on a machine that others load."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import FrameType
from typing import Any

__all__ = ["Opcodes"]


class Opcodes:
    """Counts executed bytecodes by file and function while it is entered, in this thread."""

    def __init__(self, counted: Counter[str]) -> None:
        self._counted = counted
        self._names: dict[Any, str] = {}

    def __enter__(self) -> None:
        frame: FrameType | None = sys._getframe(1)
        while frame is not None:  # what is running already, too: coroutines go on inside it
            frame.f_trace_opcodes, frame.f_trace = True, self._trace
            frame = frame.f_back
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def _trace(self, frame: FrameType, event: str, _: Any) -> Any:
        if event == "call":
            frame.f_trace_opcodes, frame.f_trace_lines = True, False
        elif event == "opcode":
            code = frame.f_code
            name = self._names.get(code)
            if name is None:
                name = self._names[code] = f"{_short(code.co_filename)}:{_qualified(code)}"
            self._counted[name] += 1
        return self._trace


def _qualified(code: Any) -> str:
    return str(getattr(code, "co_qualname", code.co_name))  # the former since Python 3.11


def _short(filename: str) -> str:
    path = Path(filename)
    if "runguard_otel" in path.parts:
        return "/".join(path.parts[path.parts.index("runguard_otel") :])
    return "/".join(path.parts[-2:])
