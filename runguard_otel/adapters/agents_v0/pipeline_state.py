"""The speech of one 0.12 agent: what 1.x keeps per session, and what only 0.12 needs."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Any, Final

from runguard_otel.adapters.agents_v1.context import current_job
from runguard_otel.adapters.agents_v1.services import Services
from runguard_otel.adapters.agents_v1.speech_actions import SpeechActions
from runguard_otel.adapters.agents_v1.speech_sessions import SpeechSessions
from runguard_otel.adapters.agents_v1.speech_state import SpeechState
from runguard_otel.adapters.agents_v1.vad import VADThresholds
from runguard_otel.core.guards.misfire import MisfireDecision, MisfireKind
from runguard_otel.core.verdict import Clock

__all__ = ["PipelineActions", "PipelineSessions", "PipelineState"]

LAST_WORDS_SECONDS: Final = 15.0
"""How long an agent that is closed may go on with the sentence it is saying."""


class PipelineActions(SpeechActions):
    """0.12 agents have no audio input to switch off, speak asynchronously, and never close.

    So the frames of the microphone are dropped while it is closed, and an agent ends with its job.
    """

    _saying: asyncio.Task[Any] | None = None

    @property
    def muted(self) -> bool:
        """Whether the microphone's audio is to be dropped."""
        return self._muted

    def mute(self) -> None:
        """Drop what the microphone hears."""
        self._muted = True

    def unmute(self) -> None:
        """Hear again."""
        self._muted = False

    def end(self) -> None:
        """Close the ears at once, and the job after what is being said. Never waited for."""
        agent = self._session()
        if agent is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(agent))

    def _say(self, session: Any) -> None:
        self._saying = asyncio.get_running_loop().create_task(session.say(self._sentence))

    async def _end(self, agent: Any) -> None:
        ears = agent._human_input
        if ears is not None and not ears._closed:
            await ears.aclose()
        speech = await self._saying if self._saying is not None else agent._playing_speech
        if speech is not None:
            await asyncio.wait([speech.join()], timeout=LAST_WORDS_SECONDS)
        await agent.aclose()
        job = current_job()
        if job is not None:
            job.shutdown(reason="runguard: VAD misfire storm")


class PipelineState(SpeechState):
    """The misfire guard of one ``VoicePipelineAgent`` (or, observing, of a ``MultimodalAgent``).

    Attributes:
        judged: Whether a final result of the running turn was judged.
        cut_off: Whether the agent was cut off in the running turn.
        continued: Whether a cut-off agent was let go on, since the last genuine result.
    """

    def __init__(
        self, session: Any, services: Services, clock: Clock, thresholds: VADThresholds
    ) -> None:
        super().__init__(session, services, clock, thresholds, PipelineActions)
        self.judged = self.cut_off = self.continued = False

    @property
    def muted(self) -> bool:
        """Whether the microphone is closed."""
        return isinstance(self._actions, PipelineActions) and self._actions.muted

    def on_final(
        self, text: str, confidence: float | None, provider: str, model: str, **more: Any
    ) -> MisfireDecision:
        """See :meth:`SpeechState.on_final`."""
        decision = super().on_final(text, confidence, provider, model, **more)
        if more.get("heard", True):
            self.judged = True
        if decision.kind is MisfireKind.GENUINE:
            self.continued = False
        return decision


class PipelineSessions(SpeechSessions):
    """The speech state of every agent in this process, found by its ``HumanInput``, too.

    Args:
        services: Settings and recorder.
        clock: Monotonic seconds.
    """

    def __init__(self, services: Services, clock: Clock = time.monotonic) -> None:
        super().__init__(services, clock, PipelineState)
        self._agents: weakref.WeakKeyDictionary[Any, weakref.ref[Any]] = weakref.WeakKeyDictionary()

    def listens(self, ears: Any, agent: Any) -> None:
        """``ears`` is the ``HumanInput`` of ``agent``."""
        self._agents[ears] = weakref.ref(agent)

    def agent_of(self, ears: Any) -> Any | None:
        """The agent that ``ears`` belongs to; ``None`` if the application made it by itself."""
        reference = self._agents.get(ears)
        return reference() if reference is not None else None

    def state(self, agent: Any) -> PipelineState:
        """Like :meth:`of`."""
        state = self.of(agent)
        assert isinstance(state, PipelineState)
        return state

    def left(self, room: Any) -> None:
        """``room`` is over for its agents: 0.12 agents have no other end."""
        with self._lock:
            ended = [agent for agent in self._states if getattr(agent, "_room", None) is room]
        for agent in ended:
            self.ended(agent)
