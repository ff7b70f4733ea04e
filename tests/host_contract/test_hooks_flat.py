"""A hook written out for one method keeps the contract, and gives way to the usual shape."""

from __future__ import annotations

from typing import Any

import pytest

from runguard_otel.adapters.hooks import Failed, Hook, Hooks
from runguard_otel.adapters.patching import PatchSet
from tests.kit.recorder import MemoryRecorder

pytestmark = pytest.mark.host_contract


def ours(seen: list[Any]) -> tuple[Any, Hook]:
    def build(original: Hook, live: list[bool], failed: Failed) -> Hook:
        def push(self: Any, frame: Any) -> Any:
            result = original(self, frame)
            if live:
                try:
                    seen.append(("flat", frame * 2))
                except TypeError:
                    failed("push")
            return result

        return push

    def otherwise(self: Any, result: Any, frame: Any, *_: Any, **__: Any) -> None:
        seen.append(("usual", frame))

    return build, otherwise


class Host:
    def push(self, frame: Any) -> str:
        return f"pushed {frame}"


class LaterHost:
    def push(self, frame: Any, channel: int = 0) -> str:
        return f"pushed {frame} {channel}"


@pytest.mark.parametrize(("host", "shape"), [(Host, "flat"), (LaterHost, "usual")])
def test_the_shape_fits_the_release_or_is_the_usual_one(host: type, shape: str) -> None:
    seen: list[Any] = []
    recorder = MemoryRecorder()
    build, otherwise = ours(seen)
    original = host.__dict__["push"]
    row = Hooks(recorder, "telemetry").flat(
        host, "push", ("frame",), build, otherwise, why="It is tried out."
    )
    patches = PatchSet([row])
    patches.install()
    one = host()
    assert one.push(3).startswith("pushed 3")
    assert one.push(frame=3).startswith("pushed 3")
    assert [name for name, _ in seen] == [shape, shape]
    assert host.__dict__["push"].__name__ == "push"
    bound = one.push
    patches.undo()
    assert host.__dict__["push"] is original
    bound(4)  # whoever kept the patched method
    assert len(seen) == 2


def test_what_is_to_run_ahead_of_the_host_does_so_in_the_usual_shape_too() -> None:
    order: list[str] = []

    class Told:
        def push(self, frame: Any, channel: int = 0) -> None:
            order.append("host")

    build, _ = ours([])
    row = Hooks(MemoryRecorder(), "telemetry").flat(
        Told,
        "push",
        ("frame",),
        build,
        lambda _self, frame, *_, **__: order.append(f"ours {frame}"),
        why="It is tried out.",
        ahead=True,
    )
    patches = PatchSet([row])
    patches.install()
    Told().push(3)
    patches.undo()
    assert order == ["ours 3", "host"]


def test_what_fails_in_it_is_counted_and_the_host_goes_on() -> None:
    seen: list[Any] = []
    recorder = MemoryRecorder(tolerant=True)
    build, otherwise = ours(seen)
    row = Hooks(recorder, "telemetry").flat(
        Host, "push", ("frame",), build, otherwise, why="It is tried out."
    )
    patches = PatchSet([row])
    patches.install()
    assert Host().push(None) == "pushed None"  # None cannot be doubled
    patches.undo()
    assert [where for where, _ in recorder.errors] == ["push"]
    assert seen == []


async def test_a_method_written_out_takes_what_the_hosts_takes() -> None:
    seen: list[str] = []

    class Waits:
        async def run(self, times: int, *, word: str = "a") -> str:
            return word * times

    def build(original: Hook, live: list[bool], _: Failed) -> Hook:
        async def run(self: Any, *args: Any, **kwargs: Any) -> Any:
            try:
                return await original(self, *args, **kwargs)
            finally:
                seen.append("live" if live else "inert")

        return run

    own = Waits.__dict__["run"]
    patches = PatchSet([Hooks(MemoryRecorder(), "telemetry").written(Waits, "run", build, why="")])
    patches.install()
    one = Waits()
    assert await one.run(2, word="b") == "bb"
    kept = one.run
    patches.undo()
    assert Waits.__dict__["run"] is own
    assert await kept(3) == "aaa"
    assert seen == ["live", "inert"]
