"""A table of patches, installed all or nothing and undone exactly.

``opentelemetry.instrumentation.utils.unwrap`` loses static and class methods, leaves copies of
inherited methods on subclasses and removes the layer of whoever patched after us. ``PatchSet``
keeps the raw descriptor from ``vars(owner)`` instead, restores it only while ours is on top, and
otherwise leaves a wrapper that calls straight through.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import logging
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

__all__ = ["Patch", "PatchReport", "PatchSet", "Shape", "Wrapper", "collect", "host_class", "like"]

logger = logging.getLogger("runguard_otel")

Wrapper = Callable[..., Any]
"""``wrapper(wrapped, instance, args, kwargs)``; ``wrapped`` is bound to ``instance``.

For a method it may be ``async def``: the patch then is a coroutine function, as the original is.
"""

Shape = Callable[[Callable[..., Any], Wrapper, list[bool]], Callable[..., Any]]
"""``shape(original, wrapper, live)`` makes the function that stands in the host's place.

Once the patch is undone ``live`` is empty: then it must call straight through.
"""

like: Final = functools.partial(
    functools.wraps, assigned=("__module__", "__name__", "__qualname__", "__doc__")
)
"""``functools.wraps`` without the annotations, which ``inspect.signature`` finds in the original.

To ask a function for them makes a dictionary that stays with it: with all patches, 240 KiB of every
job process.
"""

_MISSING = object()
MARK = "__runguard_patch__"


class _Absent(type):
    """The type of a class that this release of the host does not have."""


def host_class(path: str) -> type:
    """A class of the host by name, so that a release without it costs its rows and no others.

    Args:
        path: ``module:Class``. Of several names, ``module:Class|Older``, the first one found.

    Returns:
        The class. If the host lacks it, a stand-in of that name: its rows are reported as missing.
    """
    module, _, names = path.partition(":")
    try:
        found = importlib.import_module(module)
    except ImportError as error:
        logger.debug("the host has no %s", path, exc_info=error)
        found = None
    for name in names.split("|"):
        owner = getattr(found, name, None)
        if isinstance(owner, type):
            return owner
    return _Absent(names.partition("|")[0], (), {})


class Patch(NamedTuple):
    """One thing we touch in the host.

    Args:
        owner: The class that gets the attribute.
        attribute: Its name. May be inherited: it is then defined on ``owner`` only, never changed
            on the base.
        wrapper: What runs instead, see :data:`Wrapper`.
        guard: Which guard needs it (or ``telemetry``); a missing target degrades that guard.
        why: One sentence, shown by ``runguard-otel doctor``.
        shape: How ``wrapper`` is put in place, see ``adapters.hooks``; ``None`` for a
            :data:`Wrapper` that calls the host itself.
    """

    owner: type
    attribute: str
    wrapper: Wrapper
    guard: str
    why: str
    shape: Shape | None = None

    @property
    def name(self) -> str:
        """``Class.attribute``, as in ``runguard.internal_errors{where=...}``."""
        return f"{self.owner.__name__}.{self.attribute}"


def collect(modules: Mapping[str, str], services: object) -> list[Patch]:
    """The patches of modules, in that order. One that fails costs its guard and spares the others.

    Args:
        modules: Full names of modules with a function ``patches(services)``, each with the guard
            that is lost when it does not find its classes in this release of the host.
        services: What those functions take.
    """
    table: list[Patch] = []
    for name, guard in modules.items():
        try:
            table += importlib.import_module(name).patches(services)
        except (ImportError, AttributeError) as error:
            table.append(_lacking(guard, error))
    return table


def _lacking(guard: str, error: ImportError | AttributeError) -> Patch:
    """A patch whose owner does not exist in this release of the host; it is reported as missing."""
    logger.debug("%s finds nothing to patch", guard, exc_info=error)
    quoted = re.findall(r"'([^']+)'", str(error))
    what = quoted[-1 if isinstance(error, AttributeError) else 0] if quoted else str(error)
    why = f"all of its patches: {error}"
    return Patch(type("livekit", (), {}), what, lambda *_: None, guard, why)


class PatchReport(NamedTuple):
    """What became of one patch, for ``doctor``."""

    name: str
    guard: str
    why: str
    state: str
    """``installed``, ``missing`` or ``buried`` (undone, but somebody patched on top of it)."""


@dataclass
class _Installed:
    patch: Patch
    raw: Any
    inherited: bool
    replacement: Any
    live: list[bool] = field(default_factory=lambda: [True])


class PatchSet:
    """Installs a table of patches and takes it back.

    Args:
        patches: The table. Targets that do not exist are skipped and reported, not an error:
            LiveKit moves private names between minor releases.
    """

    def __init__(self, patches: Iterable[Patch]) -> None:
        self._patches = list(patches)
        self._installed: list[_Installed] = []
        self._reports: list[PatchReport] = []

    @property
    def reports(self) -> list[PatchReport]:
        """What became of each patch."""
        return list(self._reports)

    @property
    def missing(self) -> list[Patch]:
        """The patches whose target does not exist in this version of the host."""
        return [p for p in self._patches if _find(p) is None]

    def install(self) -> None:
        """Apply the whole table, or none of it if anything fails."""
        try:
            for patch in self._patches:
                found = _find(patch)
                if found is None:
                    self._report(patch, "missing")
                    continue
                self._installed.append(_apply(patch, found))
                self._report(patch, "installed")
        except BaseException:
            self.undo()
            raise

    def undo(self) -> None:
        """Take everything back, last first. What others patched on top stays, ours goes inert."""
        self._reports.clear()
        for done in reversed(self._installed):
            done.live.clear()
            owner, attribute = done.patch.owner, done.patch.attribute
            if vars(owner).get(attribute, _MISSING) is not done.replacement:
                self._report(done.patch, "buried")
                logger.debug("%s was patched after us: left in place, inert", done.patch.name)
            elif done.inherited:
                delattr(owner, attribute)
            else:
                setattr(owner, attribute, done.raw)
        self._installed.clear()

    def _report(self, patch: Patch, state: str) -> None:
        self._reports.append(PatchReport(patch.name, patch.guard, patch.why, state))


def _find(patch: Patch) -> Any | None:
    if isinstance(patch.owner, _Absent):
        return None  # whatever it inherits from ``object``
    # Not `inspect.getattr_static`: for a class it looks at each metaclass's own ancestors as well.
    for owner in patch.owner.__mro__:
        if patch.attribute in vars(owner):
            return vars(owner)[patch.attribute]
    return None


def _apply(patch: Patch, found: Any) -> _Installed:
    owner, attribute = patch.owner, patch.attribute
    raw = vars(owner).get(attribute, _MISSING)
    inherited = raw is _MISSING
    done = _Installed(patch, raw, inherited, None)
    done.replacement = _replacement(found, patch, done.live)
    setattr(owner, attribute, done.replacement)
    return done


def _replacement(raw: Any, patch: Patch, live: list[bool]) -> Any:
    """A descriptor of the same kind as ``raw`` that runs the patch while ``live``."""
    shape, wrapper = patch.shape or _around, patch.wrapper
    if isinstance(raw, classmethod):
        return classmethod(_marked(shape(raw.__func__, wrapper, live)))
    if not isinstance(raw, staticmethod):
        return _marked(shape(raw, wrapper, live))
    if patch.shape is not None:
        raise TypeError(f"{patch.name} is a static method: it can only be wrapped by hand")
    inner = raw.__func__

    @like(inner)
    def static(*args: Any, **kwargs: Any) -> Any:
        return wrapper(inner, None, args, kwargs) if live else inner(*args, **kwargs)

    return staticmethod(static)


def _marked(replacement: Callable[..., Any]) -> Callable[..., Any]:
    setattr(replacement, MARK, True)
    return replacement


def _around(original: Callable[..., Any], wrapper: Wrapper, live: list[bool]) -> Callable[..., Any]:
    if inspect.iscoroutinefunction(original):

        @like(original)
        async def around_async(self: Any, *args: Any, **kwargs: Any) -> Any:
            if not live:
                return await original(self, *args, **kwargs)
            return await wrapper(original.__get__(self), self, args, kwargs)

        return around_async

    @like(original)
    def around(self: Any, *args: Any, **kwargs: Any) -> Any:
        if not live:
            return original(self, *args, **kwargs)
        return wrapper(original.__get__(self), self, args, kwargs)

    return around
