"""The shapes of a hook keep the contract with the host, whatever the hook does."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from runguard_otel.adapters.hooks import Ahead, Answer, Hooks, Refuse, Replace
from runguard_otel.adapters.patching import Patch, PatchSet
from runguard_otel.errors import LoopDetectedError
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.host_contract

SHAPES = ("before", "after", "gate")


def deprecated(fn: Callable[..., Any]) -> Callable[..., Any]:
    """As LiveKit decorates ``JobContext.connect``: what it gives back is no coroutine function."""

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        return fn(*args, **kwargs)

    return wrapper


class Host:
    """Stands for any class of the host: a plain method and a coroutine."""

    def turn(self, words: str, times: int = 1) -> str:
        if words == "boom":
            raise KeyError(words)
        return words * times

    async def wait(self, words: str, times: int = 1) -> str:
        await asyncio.sleep(0)
        if words == "cancel":
            raise asyncio.CancelledError
        return words * times

    @deprecated
    async def connect(self, words: str, times: int = 1) -> str:
        return await self.wait(words, times)

    @staticmethod
    def plain() -> str:
        return "plain"

    @classmethod
    def made(cls, words: str) -> str:
        return f"{cls.__name__} {words}"


@contextmanager
def hooked(shape: str, attribute: str, fn: Callable[..., Any], **options: Any) -> Iterator[Any]:
    recorder = MemoryRecorder(tolerant=True)
    row: Patch = getattr(Hooks(recorder, "a_guard"), shape)(
        Host, attribute, fn, why="a test", **options
    )
    patches = PatchSet([row])
    patches.install()
    try:
        yield recorder
    finally:
        patches.undo()


def call(attribute: str, *args: Any, **kwargs: Any) -> Any:
    result = getattr(Host(), attribute)(*args, **kwargs)
    return asyncio.run(result) if asyncio.iscoroutine(result) else result


def broken(*_: Any, **__: Any) -> Any:
    raise ValueError("ours")


async def broken_later(*_: Any, **__: Any) -> Any:
    raise ValueError("ours")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize(
    ("attribute", "fn"), [("turn", broken), ("wait", broken), ("wait", broken_later)]
)
def test_our_own_failure_is_counted_under_the_rows_name_and_the_call_goes_on(
    shape: str, attribute: str, fn: Callable[..., Any]
) -> None:
    with hooked(shape, attribute, fn) as recorder:
        assert call(attribute, "a", times=2) == "aa"
    assert [where for where, _ in recorder.errors] == [f"Host.{attribute}"]


def as_it_is(original: Callable[..., Any], *_: object) -> Callable[..., Any]:
    return lambda *args, **kwargs: original(*args, **kwargs)


def test_a_listener_has_its_signature_at_hand() -> None:
    """An emitter asks at each event, which otherwise costs it as much as most of our hooks do."""
    own = inspect.signature(Host().turn)
    for listens in (False, True):
        with hooked("written", "turn", as_it_is, listens=listens):
            assert inspect.signature(Host().turn) == own
            assert ("__signature__" in vars(Host.turn)) is listens


@pytest.mark.parametrize("attribute", ["turn", "wait"])
def test_a_parameter_gets_its_argument_however_it_was_passed(attribute: str) -> None:
    seen: list[tuple[str, int]] = []

    def fn(_: Host, words: str, times: int = 1) -> None:
        seen.append((words, times))

    with hooked("before", attribute, fn):
        call(attribute, "a", 2)
        call(attribute, words="b", times=3)
        call(attribute, "c")
    assert seen == [("a", 2), ("b", 3), ("c", 1)]


@pytest.mark.parametrize("attribute", ["turn", "wait", "connect"])
def test_after_sees_the_result_of_a_call_that_succeeded_and_of_no_other(attribute: str) -> None:
    seen: list[Any] = []
    with hooked("after", attribute, lambda _, result, *__, **___: seen.append(result)) as recorder:
        call(attribute, "a")
        with pytest.raises((KeyError, asyncio.CancelledError)):
            call(attribute, "boom" if attribute == "turn" else "cancel")
    assert seen == ["a"]
    assert recorder.errors == []


@pytest.mark.parametrize("shape", SHAPES)
def test_what_the_host_raises_is_the_hosts_and_cancellation_passes(shape: str) -> None:
    with hooked(shape, "turn", lambda *_, **__: None) as recorder, pytest.raises(KeyError):
        call("turn", "boom")
    assert recorder.errors == []
    with (
        hooked(shape, "wait", lambda *_, **__: None) as recorder,
        pytest.raises(asyncio.CancelledError),
    ):
        call("wait", "cancel")
    assert recorder.errors == []


@pytest.mark.parametrize("shape", SHAPES)
def test_a_cancellation_that_meets_our_own_wait_passes(shape: str) -> None:
    reached: list[str] = []

    async def ours(*_: Any, **__: Any) -> None:
        reached.append(shape)
        await asyncio.sleep(60)

    async def cancelled() -> None:
        task = asyncio.ensure_future(Host().wait("a"))
        while not reached:
            await asyncio.sleep(0)
        task.cancel()
        await task

    with hooked(shape, "wait", ours) as recorder, pytest.raises(asyncio.CancelledError):
        asyncio.run(cancelled())
    assert recorder.errors == []


@pytest.mark.parametrize("attribute", ["turn", "wait"])
def test_only_a_gate_keeps_a_call_from_the_host(attribute: str) -> None:
    for shape in ("before", "after"):
        with hooked(shape, attribute, lambda *_, **__: Answer("ours")):
            assert call(attribute, "a") == "a"
    with hooked("gate", attribute, lambda *_, **__: Answer("ours")):
        assert call(attribute, "a") == "ours"
    with hooked("gate", attribute, lambda *_, **__: None):
        assert call(attribute, "a") == "a"


@pytest.mark.parametrize("attribute", ["turn", "wait"])
def test_a_gate_changes_the_arguments_it_names_and_no_other(attribute: str) -> None:
    with hooked("gate", attribute, lambda *_, **__: Replace(words="b")):
        assert call(attribute, "a", 2) == "bb"
        assert call(attribute, "a", times=3) == "bbb"
        assert call(attribute, words="a") == "b"
    with hooked("gate", attribute, lambda *_, **__: Replace(times=2)):
        assert call(attribute, "a") == "aa"


@pytest.mark.parametrize("attribute", ["turn", "wait"])
def test_a_gate_has_other_calls_made_ahead_of_the_one_that_came(
    attribute: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[tuple[str, int]] = []
    original = getattr(Host, attribute)

    @functools.wraps(original)
    def noted(self: Host, words: str, times: int = 1) -> Any:
        made.append((words, times))
        return original(self, words, times)

    monkeypatch.setattr(Host, attribute, noted)
    with hooked("gate", attribute, lambda *_, **__: Ahead(Replace(words="b"), Replace(words="c"))):
        assert call(attribute, "a", times=2) == "aa"
    assert made == [("b", 2), ("c", 2), ("a", 2)]


@pytest.mark.parametrize("attribute", ["turn", "wait"])
def test_a_gate_refuses_with_the_error_it_was_given(attribute: str) -> None:
    error = LoopDetectedError("a loop")
    with (
        hooked("gate", attribute, lambda *_, **__: Refuse(error)) as recorder,
        pytest.raises(LoopDetectedError) as caught,
    ):
        call(attribute, "a")
    assert caught.value is error
    assert recorder.errors == []


def test_a_gate_on_a_coroutine_may_wait() -> None:
    async def fn(*_: Any, **__: Any) -> Answer:
        await asyncio.sleep(0)
        return Answer("later")

    with hooked("gate", "wait", fn):
        assert call("wait", "a") == "later"


def test_a_hook_that_waits_on_a_method_that_does_not_is_refused_when_it_is_installed() -> None:
    with pytest.raises(TypeError, match=r"Host\.turn"), hooked("gate", "turn", broken_later):
        pass
    assert call("turn", "a") == "a"


def test_a_static_method_has_no_instance_to_hand_on_and_a_class_method_has_its_class() -> None:
    with pytest.raises(TypeError, match=r"Host\.plain"), hooked("before", "plain", broken):
        pass
    seen: list[Any] = []
    with hooked("before", "made", lambda owner, words: seen.append((owner, words))):
        assert Host.made("x") == "Host x"
    assert seen == [(Host, "x")]


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("attribute", ["turn", "wait"])
def test_the_methods_name_and_nature_are_kept(shape: str, attribute: str) -> None:
    nature = asyncio.iscoroutinefunction(getattr(Host, attribute))
    with hooked(shape, attribute, lambda *_, **__: None):
        assert getattr(Host, attribute).__name__ == attribute
        assert asyncio.iscoroutinefunction(getattr(Host, attribute)) is nature


@pytest.mark.parametrize("shape", SHAPES)
def test_a_hook_that_somebody_patched_over_goes_inert(shape: str) -> None:
    seen: list[str] = []
    patches = PatchSet(
        [
            getattr(Hooks(MemoryRecorder(), "a_guard"), shape)(
                Host, "turn", lambda *_, **__: seen.append("ran"), why="a test"
            )
        ]
    )
    original = vars(Host)["turn"]
    patches.install()
    ours = vars(Host)["turn"]

    def theirs(self: Host, words: str) -> Any:
        return ours(self, words)

    try:
        Host.turn = theirs  # type: ignore[method-assign, assignment]
        patches.undo()
        assert call("turn", "a") == "a"
        assert seen == []
    finally:
        Host.turn = original  # type: ignore[method-assign]


@pytest.mark.parametrize("shape", ["before", "after"])
def test_a_hook_that_nobody_needs_yet_is_idle_until_somebody_does(shape: str) -> None:
    seen: list[str] = []
    needed: list[bool] = []
    with hooked(shape, "turn", lambda *_, **__: seen.append("ran"), when=needed):
        bound = Host().turn
        assert bound("a") == "a"
        assert seen == []
        needed.append(True)
        assert bound("a") == "a"
        assert seen == ["ran"]
    assert bound("a") == "a", "whoever kept the patched method"
    assert seen == ["ran"], "undone, it is idle though it is needed"
    with hooked(shape, "turn", broken, when=needed) as recorder:
        assert call("turn", "a") == "a"
    assert [where for where, _ in recorder.errors] == ["Host.turn"]
