"""What LiveKit is about one request to a model, or one stream: its model, its tries, its end.

Read in 0.12 to 1.8. A ``RecognizeStream``, an ``LLMStream`` and the streams of a ``TTS`` run in a
task of their own, which tries again what failed.
"""

from __future__ import annotations

import asyncio
import weakref
from collections.abc import Callable
from typing import Any, Final

__all__ = [
    "FINAL_TRANSCRIPT",
    "abort_stream",
    "asked_model",
    "final_words",
    "measured_twice",
    "on_attempt",
    "pushed_rate",
    "refused_stream",
    "replace_attempts",
    "stream_task",
    "stt_of",
    "takes_audio",
    "unmeasured_characters",
    "was_refused",
    "when_stream_ends",
]


def asked_model(stream: Any) -> Any:
    """The model that an ``LLMStream`` or a stream of a ``TTS`` asks (0.12 to 1.8)."""
    return getattr(stream, "_llm", None) or getattr(stream, "_tts", None)


def stt_of(stream: Any) -> Any:
    """The ``STT`` that a ``RecognizeStream`` belongs to (0.12 to 1.8)."""
    return stream._stt


def measured_twice(stream: Any) -> bool:
    """Whether a ``ChunkedStream`` of a voice does nothing but read a ``SynthesizeStream`` of it.

    Voices that speak over a websocket only make ``synthesize()`` so, since 1.3: the host measures
    the text once for each of the two, and its provider was asked once. Read in 0.12 to 1.8.
    """
    return type(stream).__name__ == "_ChunkedStreamFromStream"


def unmeasured_characters(stream: Any) -> int:
    """The characters that a ``SynthesizeStream`` was given and the host has not measured.

    It measures a segment when all of its audio has come: what is interrupted before is in no
    metrics. 0 for other streams. Read in 0.12 to 1.8.
    """
    whole = getattr(stream, "_mtc_pending_texts", ())
    return sum(map(len, whole)) + len(getattr(stream, "_mtc_text", ""))


FINAL_TRANSCRIPT: Final = "final_transcript"
"""The type of a ``SpeechEvent`` that says something for good. Its enumeration is one of strings,
and this is equal to its member. Read in 0.12 to 1.8."""


def final_words(event: Any) -> str:
    """What a ``SpeechEvent`` says for good; ``""`` for every other event (0.12 to 1.8)."""
    if event.type != FINAL_TRANSCRIPT or not event.alternatives:
        return ""
    return str(event.alternatives[0].text or "").strip()


def stream_task(stream: Any) -> asyncio.Task[Any] | None:
    """What runs a ``RecognizeStream`` until it is over (0.12 to 1.8)."""
    task: asyncio.Task[Any] | None = getattr(stream, "_task", None)
    return task


def takes_audio(stream: Any) -> bool:
    """Whether a ``RecognizeStream`` hears what is pushed: it has not ended, nor has its input.

    Read in 0.12 to 1.8.
    """
    task = stream_task(stream)
    closed = getattr(getattr(stream, "_input_ch", None), "closed", False)
    return not closed and (task is None or not task.done())


def pushed_rate(stream: Any) -> int:
    """The sample rate a ``RecognizeStream`` was fed with (0.12 to 1.8); 0 before the first frame.

    It takes no other one.
    """
    return int(getattr(stream, "_pushed_sr", 0))


def when_stream_ends(stream: Any, callback: Callable[[Any], None]) -> None:
    """Call ``callback`` when a ``RecognizeStream`` is over, however it ends (0.12 to 1.8)."""
    stream._task.add_done_callback(callback)


def replace_attempts(stream: Any, attempt: Callable[..., Any]) -> Callable[..., Any]:
    """Have ``attempt`` awaited for each attempt of a request, in place of what is returned.

    That is ``_run`` of every stream of a model, in every release. It is replaced on the stream
    alone, which is quicker than on every class of every plugin. Read in 0.12 to 1.8.

    Returns:
        What it was, to be called with the stream first: that of its class, for a stream that holds
        itself would wait for the garbage collector, and all of its request with it.
    """
    before, usual = stream._run, type(stream)._run
    stream._run = attempt
    called = getattr(before, "__func__", before)
    if called is usual or called is getattr(usual, "__wrapped__", None):  # as wrapt has it
        return usual  # type: ignore[no-any-return]
    return lambda _, *args, **kwargs: before(*args, **kwargs)  # somebody else's


def on_attempt(stream: Any, callback: Callable[[], None]) -> None:
    """Call ``callback`` each time a stream begins to talk to its provider (0.12 to 1.8)."""
    of = weakref.ref(stream)

    async def attempt(*args: Any, **kwargs: Any) -> Any:
        callback()
        return await run(of(), *args, **kwargs)

    run = replace_attempts(stream, attempt)


def abort_stream(stream: Any) -> None:
    """End a ``RecognizeStream`` as an error of its provider would. In its own loop only.

    Read in 0.12 to 1.8.
    """
    stream._task.cancel()


def refused_stream(stream: Any, cause: Exception) -> Exception:
    """The error of a stream that is not to be tried again; the host is told of it, too.

    A session counts it, and a ``FallbackAdapter`` goes on to its next recogniser. Before 1.0 the
    host has no event for it. Raise it around the host's own retries: before 1.6 they do not read
    ``retryable``. Read in 0.12 to 1.8.
    """
    from livekit.agents import APIConnectionError

    error = APIConnectionError(f"runguard: {cause}", retryable=False)
    tell = getattr(stream, "_emit_error", None)
    if tell is not None:
        tell(error, recoverable=False)
    return error


def was_refused(error: BaseException) -> bool:
    """Whether a request failed in a way that no provider bills: refused, or never arrived.

    A timeout is none: the provider may have done the work. Read in 0.12 to 1.8.
    """
    from livekit.agents import APIError, APITimeoutError

    return isinstance(error, APIError) and not isinstance(error, APITimeoutError)
