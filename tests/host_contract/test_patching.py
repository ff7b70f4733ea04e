"""Installing and undoing patches leaves the host exactly as it was."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable
from typing import Any

import pytest

from runguard_otel.adapters.patching import Patch, PatchSet

pytestmark = pytest.mark.host_contract


class Base:
    def inherited(self) -> str:
        return "base"

    @classmethod
    def made(cls) -> str:
        return cls.__name__

    @staticmethod
    def plain(x: int) -> int:
        return x

    async def waits(self) -> str:
        await asyncio.sleep(0)
        return "waited"


class Host(Base):
    def own(self, x: int = 1) -> int:
        """The host's words."""
        return x


def twice(wrapped: Callable[..., Any], _: object, args: Any, kwargs: Any) -> Any:
    return wrapped(*args, **kwargs) * 2


async def twice_later(wrapped: Callable[..., Any], _: object, args: Any, kwargs: Any) -> Any:
    return (await wrapped(*args, **kwargs)) * 2


def table(*attributes: str) -> list[Patch]:
    return [
        Patch(Host, a, twice_later if a == "waits" else twice, "telemetry", "a test")
        for a in attributes
    ]


EVERYTHING = ("own", "inherited", "made", "plain", "waits")


def raw(owner: type) -> dict[str, object]:
    return {k: v for k, v in vars(owner).items() if k in EVERYTHING}


def test_every_kind_of_attribute_is_wrapped_and_given_back_identically() -> None:
    before, base_before = raw(Host), raw(Base)
    patches = PatchSet(table(*EVERYTHING))
    patches.install()
    host = Host()
    assert (host.own(3), host.inherited(), Host.made(), host.made()) == (
        6,
        "basebase",
        "HostHost",
        "HostHost",
    )
    assert (Host.plain(2), host.plain(2), asyncio.run(host.waits())) == (4, 4, "waitedwaited")
    assert Base().inherited() == "base", "the base class is never touched"
    assert Base.made() == "Base"
    patches.undo()
    assert raw(Host) == before
    assert raw(Base) == base_before


def test_names_docs_and_coroutine_nature_are_kept() -> None:
    patches = PatchSet(table("own", "waits"))
    patches.install()
    try:
        assert Host.own.__name__ == "own"
        assert Host.own.__doc__ == "The host's words."
        assert asyncio.iscoroutinefunction(Host.waits)
        assert not asyncio.iscoroutinefunction(Host.own)
    finally:
        patches.undo()


def test_a_failure_in_the_middle_installs_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    before = raw(Host)

    class Unpatchable(type):
        def __setattr__(cls, name: str, value: object) -> None:
            raise RuntimeError("no")

    class Stubborn(metaclass=Unpatchable):
        def own(self) -> int:
            return 1

    patches = PatchSet([*table("own", "plain"), Patch(Stubborn, "own", twice, "telemetry", "")])
    with pytest.raises(RuntimeError):
        patches.install()
    assert raw(Host) == before
    assert Host().own(3) == 3


def test_a_second_patcher_on_top_survives_and_ours_goes_inert() -> None:
    patches = PatchSet(table("own"))
    patches.install()
    ours = vars(Host)["own"]

    @functools.wraps(ours)
    def theirs(self: Host, *args: int) -> int:
        return int(ours(self, *args)) + 100

    original = vars(Host)["own"].__wrapped__
    setattr(Host, "own", theirs)  # noqa: B010 - mypy would have us lie about the type
    try:
        assert Host().own(3) == 106
        patches.undo()
        assert vars(Host)["own"] is theirs
        assert Host().own(3) == 103, "theirs still works, ours calls straight through"
        assert [r.state for r in patches.reports] == ["buried"]
    finally:
        Host.own = original  # type: ignore[method-assign]


def test_install_again_after_undo() -> None:
    before = raw(Host)
    patches = PatchSet(table(*EVERYTHING))
    for _ in range(3):
        patches.install()
        assert Host().own(3) == 6
        patches.undo()
        assert raw(Host) == before


def test_a_missing_target_is_reported_and_the_rest_works() -> None:
    patches = PatchSet([*table("own"), Patch(Host, "gone", twice, "vad_misfire", "")])
    patches.install()
    try:
        assert Host().own(3) == 6
        assert [(r.name, r.state) for r in patches.reports] == [
            ("Host.own", "installed"),
            ("Host.gone", "missing"),
        ]
        assert [p.name for p in patches.missing] == ["Host.gone"]
    finally:
        patches.undo()


def test_host_exceptions_and_cancellation_pass_unchanged() -> None:
    class Failing:
        async def waits(self) -> None:
            await asyncio.sleep(60)

        def own(self) -> None:
            raise KeyError("theirs")

    patches = PatchSet(
        [
            Patch(Failing, "own", twice, "telemetry", ""),
            Patch(Failing, "waits", twice_later, "telemetry", ""),
        ]
    )
    patches.install()
    with pytest.raises(KeyError, match="theirs"):
        Failing().own()

    async def cancelled() -> bool:
        task = asyncio.create_task(Failing().waits())
        await asyncio.sleep(0)
        task.cancel()
        try:
            await task
        except asyncio.CancelledError:
            return True
        return False

    assert asyncio.run(cancelled())
