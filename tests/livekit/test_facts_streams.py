"""What ``facts/streams.py`` says of requests to models and their streams, asked of real objects."""

from __future__ import annotations

import asyncio
import dataclasses
import functools
import gc
import weakref
from typing import Any

import pytest
import wrapt
from livekit import rtc
from livekit.agents import APIConnectionError, APIStatusError, APITimeoutError, tts
from livekit.agents.tokenize.basic import SentenceTokenizer

from runguard_otel.adapters.livekit.facts import streams as facts
from runguard_otel.testing.listening import (
    ScriptedSTT,
    final,
    interim,
    malformed_final,
)
from runguard_otel.testing.speaking import ScriptedTTS
from tests.kit.facts import since

pytestmark = pytest.mark.livekit


class Attempts:
    """As a stream of a model: something is awaited for each attempt."""

    async def _run(self, word: str) -> str:
        return f"asked for {word}"


def by_hand(original: Any) -> Any:
    @functools.wraps(original)
    async def _run(*args: Any, **kwargs: Any) -> Any:
        return await original(*args, **kwargs) + ", seen"

    return _run


@wrapt.decorator
async def by_wrapt(wrapped: Any, _: Any, args: Any, kwargs: Any) -> Any:
    return await wrapped(*args, **kwargs) + ", seen"


async def attempt(*_: Any) -> None:
    """In its place."""


@pytest.mark.parametrize(
    ("others", "seen"), [(lambda run: run, ""), (by_hand, ", seen"), (by_wrapt, ", seen")]
)
async def test_what_an_attempt_was_is_called_and_holds_no_stream(others: Any, seen: str) -> None:
    """Fails if what others put on the class keeps each stream until the collector comes."""
    kind = type("Kind", (Attempts,), {"_run": others(Attempts._run)})
    stream: Any = kind()
    run = facts.replace_attempts(stream, attempt)
    assert await run(stream, "a word") == f"asked for a word{seen}"
    assert await stream._run() is None
    gone = weakref.ref(stream)
    gc.disable()
    try:
        del stream
        assert gone() is None
    finally:
        gc.enable()


async def test_what_others_put_on_the_stream_itself_is_called() -> None:
    stream: Any = Attempts()
    stream._run = by_hand(stream._run)
    run = facts.replace_attempts(stream, attempt)
    assert await run(stream, "a word") == "asked for a word, seen"


def frame(rate: int = 16_000) -> rtc.AudioFrame:
    return rtc.AudioFrame.create(rate, 1, rate // 100)


async def test_what_a_voice_was_given_and_the_host_has_not_measured() -> None:
    """Fails if the host keeps the text of its metrics under another name."""
    voice = ScriptedTTS()
    stream = tts.StreamAdapter(tts=voice, sentence_tokenizer=SentenceTokenizer()).stream()
    stream.push_text("Good morning, ")
    assert facts.unmeasured_characters(stream) == 14
    stream.push_text("Ada.")
    stream.flush()
    assert facts.unmeasured_characters(stream) == 18
    await stream.aclose()
    if not since(1, 2):
        return  # the scripted voice needs 1.2
    whole = voice.synthesize("hello")
    assert facts.unmeasured_characters(whole) == 0
    assert not facts.measured_twice(whole)
    await whole.aclose()


@pytest.mark.skipif(not since(1, 3), reason="since 1.3")
async def test_a_text_that_is_streamed_inside_is_measured_twice() -> None:
    """Fails if the host names that stream otherwise, or makes it no more."""
    whole = ScriptedTTS()._synthesize_with_stream("hello")
    assert facts.measured_twice(whole)
    await whole.aclose()


def test_what_is_billed_although_it_failed() -> None:
    assert facts.was_refused(APIConnectionError())
    assert facts.was_refused(APIStatusError("no", status_code=401))
    assert not facts.was_refused(APITimeoutError()), "the provider may have done the work"
    assert not facts.was_refused(ValueError())


async def test_a_stream_knows_its_model_and_what_it_was_fed() -> None:
    """Fails for another name of the task, the input channel or the rate."""
    model, over = ScriptedSTT(), list[object]()
    stream = model.stream()
    assert facts.stt_of(stream) is model
    assert facts.pushed_rate(stream) == 0
    facts.when_stream_ends(stream, over.append)
    task = facts.stream_task(stream)
    assert task is not None and not task.done()
    assert facts.takes_audio(stream)
    stream.push_frame(frame())
    assert facts.pushed_rate(stream) == 16_000
    stream.end_input()
    assert not facts.takes_audio(stream), "its input has ended"
    await asyncio.wait({task})
    await asyncio.sleep(0)
    assert over == [task] and not facts.takes_audio(stream)
    await stream.aclose()


async def test_each_attempt_of_a_stream_is_seen() -> None:
    """Fails if ``_run`` is not what is awaited for each attempt, or is looked up on the class."""
    attempts: list[str] = []
    stream: Any = ScriptedSTT().stream()

    async def run(*_: Any, **__: Any) -> None:
        if len(attempts) < 3:
            raise APIConnectionError("two attempts fail")

    stream._conn_options = dataclasses.replace(stream._conn_options, retry_interval=0.0)
    own = facts.replace_attempts(stream, run)
    assert own is type(stream)._run
    facts.on_attempt(stream, lambda: attempts.append("begins"))
    task = facts.stream_task(stream)
    assert task is not None
    await task
    assert attempts == ["begins"] * 3
    await stream.aclose()


async def test_the_host_is_told_of_a_refused_stream_since_1_0() -> None:
    model = ScriptedSTT()
    stream, told = model.stream(), list[Any]()
    if since(1, 0):
        model.on("error", told.append)
    error = facts.refused_stream(stream, RuntimeError("a loop"))
    assert isinstance(error, APIConnectionError) and not error.retryable
    assert [event.recoverable for event in told] == ([False] if since(1, 0) else [])
    await stream.aclose()


async def test_a_stream_ends_as_by_its_provider() -> None:
    stream = ScriptedSTT().stream()
    task = facts.stream_task(stream)
    assert task is not None
    facts.abort_stream(stream)
    await asyncio.wait({task})
    assert task.cancelled()
    await stream.aclose()


async def test_a_stream_of_a_voice_knows_what_it_asks() -> None:
    assert facts.asked_model(object()) is None
    if not since(1, 2):
        return  # the scripted voice needs 1.2
    voice = ScriptedTTS()
    stream: tts.ChunkedStream = voice.synthesize("hello")
    assert facts.asked_model(stream) is voice
    await stream.aclose()


def test_what_a_recogniser_says_for_good() -> None:
    assert facts.final_words(final("a table")) == "a table"
    assert facts.final_words(interim("a")) == ""
    assert facts.final_words(malformed_final()) == ""
