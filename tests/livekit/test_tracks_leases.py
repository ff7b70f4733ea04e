"""A lease stands for a real stream; what cannot share one gets its own."""

from __future__ import annotations

import asyncio
import gc
from types import SimpleNamespace
from typing import Any

import pytest
from livekit import rtc
from livekit.agents import DEFAULT_API_CONNECT_OPTIONS, APIConnectOptions, stt

from runguard_otel.adapters.livekit.subscription import hooks
from runguard_otel.adapters.livekit.subscription.handle import StreamHandle
from runguard_otel.testing.ffi import StageServer
from runguard_otel.testing.listening import ScriptedSTT, final
from tests.kit.tracks import Guarded, frame
from tests.kit.tracks_scenes import flap_opening

pytestmark = pytest.mark.livekit


async def test_two_streams_for_one_track_are_two_streams(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        room.on("track_subscribed", lambda *_: (model.stream(), model.stream()))
        server.publish("lobby", "alice")
        await server.settle()
        assert len(model.streams) == 2
        for stream in model.streams:
            await stream.aclose()


async def test_other_parameters_open_a_real_stream(server: StageServer, room: rtc.Room) -> None:
    with Guarded():
        model, other = ScriptedSTT(), ScriptedSTT(model="another")
        options = APIConnectOptions(max_retry=0)
        await flap_opening(
            server,
            room,
            [
                model.stream,
                lambda: model.stream(language="de"),
                lambda: model.stream(conn_options=options),
                other.stream,
                lambda: model.stream(conn_options=options),
            ],
        )
        assert (len(model.streams), len(other.streams)) == (3, 1)
        for stream in model.streams + other.streams:
            await stream.aclose()


def recogniser(kept_in: str, settings: object) -> ScriptedSTT:
    """One as a plugin makes it, which keeps its settings in the attribute ``kept_in``."""
    model = ScriptedSTT()
    if kept_in:
        setattr(model, kept_in, settings)
    return model


@pytest.mark.parametrize("kept_in", ["_opts", "_config", "_params", "_stt_options"])
async def test_an_stt_made_per_track_shares_only_with_the_same_settings(
    server: StageServer, room: rtc.Room, kept_in: str
) -> None:
    made: list[ScriptedSTT] = []

    def opener(settings: object) -> Any:
        def open_stream() -> stt.RecognizeStream:
            made.append(recogniser(kept_in, settings))
            return made[-1].stream()

        return open_stream

    with Guarded():
        await flap_opening(server, room, [opener({"l": "en"}), opener({"l": "en"}), opener("de")])
        assert [len(model.streams) for model in made] == [1, 0, 1]
        for model in made:
            for stream in model.streams:
                await stream.aclose()


class Updated(ScriptedSTT):
    """Its options are changed in place, as plugins do it."""

    def __init__(self) -> None:
        super().__init__()
        self._opts = SimpleNamespace(language="en", keyterms=[])

    def update_options(self, language: str) -> None:
        self._opts.language = language


class Follows(Updated):
    """One of a plugin whose open streams are known to follow."""

    __module__ = "livekit.plugins.deepgram.stt"


@pytest.mark.parametrize(("kind", "opened"), [(Updated, 2), (Follows, 1)])
async def test_options_that_open_streams_do_not_follow_open_a_real_stream(
    server: StageServer, room: rtc.Room, kind: type[Updated], opened: int
) -> None:
    """Fails if Spanish is asked for, and the next track gets the stream of English."""
    model = kind()

    def in_spanish() -> stt.RecognizeStream:
        model.update_options("es")
        return model.stream()

    with Guarded():
        await flap_opening(server, room, [model.stream, model.stream, in_spanish, model.stream])
        assert len(model.streams) == opened
        for stream in model.streams:
            await stream.aclose()


@pytest.mark.parametrize(
    ("kept_in", "settings"),
    [
        (("_language", "_language"), ("en", "es")),
        (("_language", "_language"), ("en", "en")),
        (("_opts", "_config"), ("en", "en")),
        (("_opts", ""), ("en", "en")),
        (("", ""), ("", "")),
        (("_opts", "_opts"), (object(), object())),
        (("_opts", "_opts"), (1, True)),
    ],
)
async def test_stts_whose_settings_cannot_be_compared_share_nothing(
    server: StageServer, room: rtc.Room, kept_in: tuple[str, str], settings: tuple[object, object]
) -> None:
    """Spanish that goes into a stream of English is worse than one stream more."""
    models = [recogniser(where, what) for where, what in zip(kept_in, settings, strict=True)]
    with Guarded():
        await flap_opening(server, room, [model.stream for model in models])
        assert [len(model.streams) for model in models] == [1, 1]
        for model in models:
            await model.streams[0].aclose()


async def test_audio_of_another_sample_rate_gets_a_real_stream_of_its_own(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        first, second = await flap_opening(server, room, [lambda: model.stream()] * 2)
        model.streams[0].push_frame(frame(16_000))
        reading = asyncio.create_task(anext(second))
        await server.settle()
        second.push_frame(frame(48_000))
        second.push_frame(frame(48_000))
        assert len(model.streams) == 2
        model.streams[1].say(final("on the new stream"))
        assert (await reading).alternatives[0].text == "on the new stream"
        with pytest.raises(ValueError, match="sample rate"):
            second.push_frame(frame(8_000))
        first.push_frame(frame(8_000))  # taken: dropped, no error
        for stream in model.streams:
            await stream.aclose()


async def test_a_lease_answers_like_the_stream_it_stands_for(
    server: StageServer, room: rtc.Room
) -> None:
    with Guarded():
        model = ScriptedSTT()
        (lease,) = await flap_opening(server, room, [model.stream])
        assert isinstance(lease, stt.RecognizeStream)
        assert lease._stt is model
        name = "remark"
        setattr(lease, name, "kept on the real stream")
        assert vars(model.streams[0])[name] == "kept on the real stream"
        assert name in dir(lease)
        assert repr(model.streams[0]) in repr(lease)
        delattr(lease, name)
        assert not hasattr(lease, name)
        assert not hasattr(model.streams[0], name)
        lease.push_frame(frame())
        lease.flush()
        lease.end_input()
        with pytest.raises(RuntimeError, match="input ended"):
            lease.push_frame(frame())
        async with lease as same:
            assert same is lease
        with pytest.raises(RuntimeError, match="is closed"):
            lease.push_frame(frame())
        assert [e async for e in lease] == []
        await lease.aclose()
        await model.streams[0].aclose()


async def test_the_real_streams_own_errors_and_end_reach_the_holder(
    server: StageServer, room: rtc.Room
) -> None:
    class Failing(stt.RecognizeStream):
        async def _run(self) -> None:
            async for _ in self._input_ch:
                raise OSError("provider is gone")

    class FailingSTT(ScriptedSTT):
        def stream(self, **_: Any) -> stt.RecognizeStream:
            return Failing(stt=self, conn_options=DEFAULT_API_CONNECT_OPTIONS)

    with Guarded():
        model = FailingSTT()
        first, second = await flap_opening(server, room, [model.stream] * 2)
        assert first.__wrapped__ is second.__wrapped__
        assert len({first: "", second: ""}) == 2, "user code keeps a task, a text per stream"
        second.push_frame(frame())
        for _ in range(2):
            with pytest.raises(OSError, match="provider is gone"):
                await anext(second)
        with pytest.raises(RuntimeError, match="is closed"):
            second.push_frame(frame())
        (third,) = await flap_opening(server, room, [model.stream])
        assert third.__wrapped__ is not second.__wrapped__, "a dead stream is not handed on"
        await third.__wrapped__.aclose()


async def test_an_error_of_stream_itself_passes_unchanged(
    server: StageServer, room: rtc.Room
) -> None:
    class Refusing(ScriptedSTT):
        def stream(self, **_: Any) -> stt.RecognizeStream:
            raise LookupError("no such language")

    seen: list[BaseException] = []

    def subscribed(*_: Any) -> None:
        try:
            Refusing().stream()
        except LookupError as error:
            seen.append(error)

    with Guarded():
        room.on("track_subscribed", subscribed)
        server.publish("lobby", "alice")
        await server.settle()
    assert [str(error) for error in seen] == ["no such language"]


async def test_streams_outside_a_handler_are_untouched(server: StageServer, room: rtc.Room) -> None:
    with Guarded():
        server.publish("lobby", "alice")
        await server.settle()
        stream = ScriptedSTT().stream()
        assert type(stream).__name__ == "_RecognizeStream"
        await stream.aclose()


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Every lease that is given out."""
    leases: list[Any] = []
    give = StreamHandle.__init__

    def remember(self: StreamHandle, *args: Any) -> None:
        leases.append(self)
        give(self, *args)

    monkeypatch.setattr(StreamHandle, "__init__", remember)
    return leases


async def test_a_stream_inside_an_adapter_stays_real(
    server: StageServer, room: rtc.Room, given: list[Any]
) -> None:
    """The adapter's stream is the lease; what it opens inside, now or later, is its own."""
    with Guarded() as guarded:
        model = ScriptedSTT()
        adapter = stt.FallbackAdapter([model])
        first, second = await flap_opening(server, room, [adapter.stream] * 2)
        await server.settle()
        assert given == [first, second]
        assert first.__wrapped__ is second.__wrapped__
        assert len(model.streams) == 1
        assert guarded.recorder.count("runguard.stt.streams") == 1, "the adapter's is not counted"
        await second.__wrapped__.aclose()
        await adapter.aclose()


async def test_a_class_that_extends_another_ones_stream_gives_one_lease(
    server: StageServer, room: rtc.Room, given: list[Any]
) -> None:
    class Extended(ScriptedSTT):
        def stream(self, **kw: Any) -> stt.RecognizeStream:
            return super().stream(**kw)

    with Guarded():
        model = Extended()
        (lease,) = await flap_opening(server, room, [model.stream])
        assert given == [lease]
        assert lease.__wrapped__ is model.streams[0]
        await lease.__wrapped__.aclose()


async def test_classes_defined_after_instrumenting_are_covered_and_undone() -> None:
    with Guarded():

        class Late(ScriptedSTT):
            def stream(self, **kw: Any) -> stt.RecognizeStream:
                return super().stream(**kw)

        before = vars(Late)["stream"]
        Late()
        Late()
        assert vars(Late)["stream"] is not before
    assert vars(Late)["stream"] is before
    del Late
    gc.collect()


def test_undoing_restores_every_class_exactly() -> None:
    owners = [rtc.Room, stt.STT, stt.RecognizeStream, *hooks.stream_classes(stt.STT)]
    before = [dict(vars(owner)) for owner in owners]
    with Guarded():
        assert [dict(vars(owner)) for owner in owners] != before
    assert [dict(vars(owner)) for owner in owners] == before
