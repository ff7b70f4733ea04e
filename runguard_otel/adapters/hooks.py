"""The shapes of a hook: they hold the contract with the host, so that a hook holds only our logic.

=========  ==========================================  ============================================
Shape      Our function                                What it may do
=========  ==========================================  ============================================
before     ``fn(instance, *args, **kwargs)``           see a call before the host runs it
after      ``fn(instance, result, *args, **kwargs)``   see a call that succeeded, and its result
gate       ``fn(instance, *args, **kwargs)``           let it pass (``None``), or say otherwise:
                                                       :class:`Replace`, :class:`Ahead`,
                                                       :class:`Answer`, :class:`Refuse`
around     ``fn(wrapped, instance, args, kwargs)``     anything; it keeps the contract itself
written    ``fn(original, live, failed)``              make the method itself, where a shape would
                                                       be felt: a frame, a step of an answer
=========  ==========================================  ============================================

The first three are called with the arguments of the call, so a parameter gets its argument however
it was passed: name those you need as the host does, and end the list with ``*_, **__``. What they
raise is counted under the row's name and never reaches the host, whose call goes on as if we were
not there. ``CancelledError`` and every other ``BaseException`` pass. The host's own code never runs
inside our ``try``.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from runguard_otel.adapters.patching import Patch, Wrapper, host_class, like
from runguard_otel.core.ports import Recorder

__all__ = ["Ahead", "Answer", "Failed", "Hook", "Hooks", "Refuse", "Replace"]

Hook = Callable[..., Any]
Failed = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Answer:
    """The host is not called: this is the result.

    Args:
        value: What the caller gets.
    """

    value: Any = None


@dataclass(frozen=True, slots=True)
class Refuse:
    """The host is not called: the caller gets an error, on purpose.

    Args:
        error: A documented error (``LoopDetectedError`` or a subclass).
    """

    error: Exception


class Replace:
    """The host is called with other arguments; those that are not named stay as they were.

    Args:
        **changes: Parameters of the host's function, by name, and their new values.
    """

    __slots__ = ("changes",)

    def __init__(self, **changes: Any) -> None:
        self.changes = changes

    def applied(
        self, names: list[str], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """The arguments to call the host with.

        Args:
            names: The host's parameters, in order, the instance first.
            args: What was passed by position, the same.
            kwargs: What was passed by name.
        """
        positional, named = list(args), dict(kwargs)
        for name, value in self.changes.items():
            place = names.index(name) if name in names else len(args)
            if name not in kwargs and place < len(args):
                positional[place] = value
            else:
                named[name] = value
        return tuple(positional), named


class Ahead:
    """The host is called with each of these first, and then as it was called.

    Args:
        *calls: In this order.
    """

    __slots__ = ("calls",)

    def __init__(self, *calls: Replace) -> None:
        self.calls = calls


class Hooks:
    """Makes the rows of one guard.

    Args:
        recorder: Gets what fails, as ``runguard.internal_errors{where="Class.attribute"}``.
        guard: Which guard is degraded where the host lacks a row's target.
    """

    def __init__(self, recorder: Recorder, guard: str) -> None:
        self._recorder = recorder
        self._guard = str(guard)

    def before(
        self,
        owner: type | str,
        attribute: str,
        fn: Hook,
        *,
        why: str,
        when: list[bool] | None = None,
    ) -> Patch:
        """Run ``fn`` ahead of the host.

        Args:
            owner: The host's class, or where it is to be found, see
                :func:`~runguard_otel.adapters.patching.host_class`.
            attribute: Its method.
            fn: Ours; ``async`` only where the method is.
            why: One sentence for ``runguard-otel doctor``.
            when: Empty for as long as nobody needs ``fn`` (which then is no coroutine function):
                until then the row costs a glance at it.
        """
        return self._row(owner, attribute, _before, fn, why, when)

    def after(
        self,
        owner: type | str,
        attribute: str,
        fn: Hook,
        *,
        why: str,
        when: list[bool] | None = None,
    ) -> Patch:
        """Run ``fn`` when the host has returned; not if it raised. Arguments as :meth:`before`."""
        return self._row(owner, attribute, _after, fn, why, when)

    def gate(
        self,
        owner: type | str,
        attribute: str,
        fn: Hook,
        *,
        why: str,
        when: list[bool] | None = None,
    ) -> Patch:
        """Ask ``fn`` whether and how the host is called. Arguments as :meth:`before`."""
        return self._row(owner, attribute, _gate, fn, why, when)

    def around(self, owner: type | str, attribute: str, wrapper: Wrapper, *, why: str) -> Patch:
        """Wrap the call by hand, for what no other shape can do.

        Args:
            owner: As in :meth:`before`.
            attribute: The host's method.
            wrapper: See :data:`~runguard_otel.adapters.patching.Wrapper`; it shields itself.
            why: One sentence for ``runguard-otel doctor``.
        """
        return Patch(_class(owner), attribute, wrapper, self._guard, why)

    def written(
        self,
        owner: type | str,
        attribute: str,
        build: Callable[[Hook, list[bool], Failed], Hook],
        *,
        why: str,
        listens: bool = False,
    ) -> Patch:
        """A method written out by hand, where :meth:`around` would cost two frames at each step.

        Args:
            owner: As in :meth:`before`.
            attribute: The host's method.
            build: Makes the method of the host's own, whether it is live, and what counts a failure
                of ours; what it makes takes any arguments, and keeps the contract itself.
            why: One sentence for ``runguard-otel doctor``.
            listens: Whether the method listens to an emitter of the host, which asks each listener
                for its signature at each event: it has the answer at hand then.
        """

        def as_built(original: Hook, _: Hook, live: list[bool], failed: Failed, __: str) -> Hook:
            return build(original, live, failed)

        return self._row(owner, attribute, as_built, build, why, listens=listens)

    def flat(
        self,
        owner: type | str,
        attribute: str,
        parameters: tuple[str, ...],
        build: Callable[[Hook, list[bool], Failed], Hook],
        otherwise: Hook,
        *,
        why: str,
        ahead: bool = False,
    ) -> Patch:
        """An ``after`` that is written out for one method, where every call more is felt.

        Args:
            owner: As in :meth:`before`.
            attribute: The host's method.
            parameters: Those it was written for, after ``self``; for any other release
                ``otherwise`` stands in the usual shape.
            build: Makes the method of the host's own, whether it is live, and what counts a failure
                of ours; what it makes keeps the contract itself.
            otherwise: As ``fn`` of :meth:`after`.
            why: One sentence for ``runguard-otel doctor``.
            ahead: Whether it is a ``before`` instead.
        """
        usual = _before if ahead else _after

        def fitting(
            original: Hook, hook: Hook, live: list[bool], failed: Failed, where: str
        ) -> Hook:
            if tuple(inspect.signature(original).parameters)[1:] == parameters:
                return build(original, live, failed)
            return usual(original, hook, live, failed, where)

        return self._row(owner, attribute, fitting, otherwise, why)

    def _row(
        self,
        owner: type | str,
        attribute: str,
        build: Callable[[Hook, Hook, list[bool], Failed, str], Hook],
        fn: Hook,
        why: str,
        when: list[bool] | None = None,
        *,
        listens: bool = False,
    ) -> Patch:
        owner = _class(owner)
        where = f"{owner.__name__}.{attribute}"
        failed = self._recorder.internal_error

        def shape(original: Hook, hook: Hook, live: list[bool]) -> Hook:
            if inspect.iscoroutinefunction(hook) and not _is_async(original):
                raise TypeError(f"{where} is no coroutine function, so its hook cannot be one")
            if when is not None:
                hook, live = _while_live(hook, live), when
            made = like(original)(build(original, hook, live, failed, where))
            if listens:
                setattr(made, "__signature__", inspect.signature(original))  # noqa: B010
            return made

        return Patch(owner, attribute, fn, self._guard, why, shape)


def _class(owner: type | str) -> type:
    return host_class(owner) if isinstance(owner, str) else owner


def _while_live(fn: Hook, live: list[bool]) -> Hook:
    """For a shape that looks at something else than whether it is live, and once is enough."""

    @functools.wraps(fn)
    def hook(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs) if live else None

    return hook


def _is_async(original: Hook) -> bool:
    """Whether the host awaits it; a decorator of its own may hide that (``deprecate_params``)."""
    return inspect.iscoroutinefunction(inspect.unwrap(original))


# A shape is written out for each of its kinds: a hook runs up to a hundred times a second, and one
# call more, or an awaitable asked for its type, is what the hook itself costs. So is taking the
# instance out of ``args`` and putting it back: who does not need it by itself leaves it there.


def _before(original: Hook, fn: Hook, live: list[bool], failed: Failed, where: str) -> Hook:
    if not _is_async(original):

        def before(*args: Any, **kwargs: Any) -> Any:
            if live:
                try:
                    fn(*args, **kwargs)
                except Exception:
                    failed(where)
            return original(*args, **kwargs)

        return before

    if inspect.iscoroutinefunction(fn):

        async def before_both(*args: Any, **kwargs: Any) -> Any:
            if live:
                try:
                    await fn(*args, **kwargs)
                except Exception:
                    failed(where)
            return await original(*args, **kwargs)

        return before_both

    async def before_async(*args: Any, **kwargs: Any) -> Any:
        if live:
            try:
                fn(*args, **kwargs)
            except Exception:
                failed(where)
        return await original(*args, **kwargs)

    return before_async


def _after(original: Hook, fn: Hook, live: list[bool], failed: Failed, where: str) -> Hook:
    if not _is_async(original):

        def after(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = original(self, *args, **kwargs)
            if live:
                try:
                    fn(self, result, *args, **kwargs)
                except Exception:
                    failed(where)
            return result

        return after

    if inspect.iscoroutinefunction(fn):

        async def after_both(self: Any, *args: Any, **kwargs: Any) -> Any:
            result = await original(self, *args, **kwargs)
            if live:
                try:
                    await fn(self, result, *args, **kwargs)
                except Exception:
                    failed(where)
            return result

        return after_both

    async def after_async(self: Any, *args: Any, **kwargs: Any) -> Any:
        result = await original(self, *args, **kwargs)
        if live:
            try:
                fn(self, result, *args, **kwargs)
            except Exception:
                failed(where)
        return result

    return after_async


def _gate(original: Hook, fn: Hook, live: list[bool], failed: Failed, where: str) -> Hook:
    if not _is_async(original):

        def gate(*args: Any, **kwargs: Any) -> Any:
            if live:
                said = None
                try:
                    said = fn(*args, **kwargs)
                except Exception:
                    failed(where)
                if said is not None:
                    if type(said) is Answer:
                        return said.value
                    if type(said) is Ahead:
                        for call in said.calls:
                            one, named = call.applied(_names(original), args, kwargs)
                            original(*one, **named)
                    else:
                        args, kwargs = _otherwise(said, original, args, kwargs)
            return original(*args, **kwargs)

        return gate

    waits = inspect.iscoroutinefunction(fn)

    async def gate_async(*args: Any, **kwargs: Any) -> Any:
        if live:
            said = None
            try:
                said = fn(*args, **kwargs)
                if waits:
                    said = await said
            except Exception:
                failed(where)
                said = None
            if said is not None:
                if type(said) is Answer:
                    return said.value
                if type(said) is Ahead:
                    for call in said.calls:
                        one, named = call.applied(_names(original), args, kwargs)
                        await original(*one, **named)
                else:
                    args, kwargs = _otherwise(said, original, args, kwargs)
        return await original(*args, **kwargs)

    return gate_async


def _otherwise(
    said: Replace | Refuse, original: Hook, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[tuple[Any, ...], dict[str, Any]]:
    if isinstance(said, Refuse):
        raise said.error
    return said.applied(_names(original), args, kwargs)


@functools.cache  # for as long as the process: a host's methods are few
def _names(original: Hook) -> list[str]:
    """The parameters of a host's method. Asked for when a call is changed, which few jobs see."""
    return list(inspect.signature(original).parameters)
