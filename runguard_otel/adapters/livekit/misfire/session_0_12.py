"""The speech of one 0.12 agent: what 1.x keeps per session, and what only 0.12 needs."""

from __future__ import annotations

import asyncio
import time
import weakref
from typing import Any, Final

from runguard_otel.adapters.livekit.facts import pipeline_0_12 as host
from runguard_otel.adapters.livekit.facts.job import current_job
from runguard_otel.adapters.livekit.facts.models import Recogniser
from runguard_otel.adapters.livekit.misfire.remedies import Remedies
from runguard_otel.adapters.livekit.misfire.session import SpeechState
from runguard_otel.adapters.livekit.misfire.sessions import SpeechSessions
from runguard_otel.adapters.livekit.services import Services
from runguard_otel.adapters.safety import shield
from runguard_otel.core.guards.misfire import MisfireDecision, MisfireKind
from runguard_otel.core.guards.repetition import Heard
from runguard_otel.core.verdict import Clock

__all__ = ["PipelineRemedies", "PipelineSessions", "PipelineState"]

_SPEAKING: Final = {"agent_started_speaking": True, "agent_stopped_speaking": False}
LAST_WORDS_SECONDS: Final = 15.0
"""How long an agent that is closed may go on with the sentence it is saying."""


class PipelineRemedies(Remedies):
    """0.12 agents have no audio input to switch off, speak asynchronously, and never close.

    So the frames of the microphone are dropped while it is closed, and an agent ends with its job.
    """

    _saying: asyncio.Task[Any] | None = None

    @property
    def muted(self) -> bool:
        """Whether the microphone's audio is to be dropped."""
        return self._muted

    def _close_input(self) -> bool:
        return True  # from now on the microphone's frames are dropped

    def _open_input(self) -> None:
        pass

    def end(self) -> None:
        """Close the ears at once, and the job after what is being said. Never waited for."""
        agent = self._session()
        if agent is not None and self._ending is None:
            self._ending = asyncio.get_running_loop().create_task(self._end(agent))

    def _say(self, session: Any) -> None:
        self._saying = asyncio.get_running_loop().create_task(session.say(self._sentence))

    async def _end(self, agent: Any) -> None:
        await host.stop_listening(agent)
        saying = self._saying
        speech = await saying if saying is not None else host.what_it_says(agent)
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

    remedies = PipelineRemedies
    judged = cut_off = continued = False

    @property
    def muted(self) -> bool:
        """Whether the microphone is closed."""
        return isinstance(self._actions, PipelineRemedies) and self._actions.muted

    def on_final(
        self, said: Heard, reported: object, maker: Recogniser, **more: Any
    ) -> MisfireDecision:
        """See :meth:`SpeechState.on_final`."""
        decision = super().on_final(said, reported, maker, **more)
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

    def agent_of(self, ears: Any) -> Any | None:
        """The agent that ``ears`` belongs to; ``None`` if the application made it by itself."""
        reference = self._agents.get(ears)
        return reference() if reference is not None else None

    def state(self, agent: Any) -> PipelineState:
        """Like :meth:`of`."""
        state = self.of(agent)
        assert isinstance(state, PipelineState)
        return state

    def descends(self, wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        """``start`` of an agent and ``_synthesize_agent_speech``: their tasks are the agent's."""
        with self.starting(agent):
            return wrapped(*args, **kwargs)

    def linked(self, agent: Any, *_: Any, **__: Any) -> None:
        """``VoicePipelineAgent._link_participant``: its ears are those of a participant."""
        ears = host.ears_of(agent)
        if ears is not None:  # there are none if the participant has just left
            self._agents[ears] = weakref.ref(agent)

    def agent_event(self, agent: Any, _: None, event: str, *__: Any, **___: Any) -> None:
        """``emit`` of an agent."""
        if event in _SPEAKING:
            self.of(agent).agent_speaks(_SPEAKING[event])
        elif event == "agent_speech_interrupted":
            self.state(agent).cut_off = True

    async def agent_closes(self, wrapped: Any, agent: Any, args: Any, kwargs: Any) -> Any:
        """``VoicePipelineAgent.aclose``."""
        try:
            return await wrapped(*args, **kwargs)
        finally:
            with shield(self.services.recorder, "VoicePipelineAgent.aclose"):
                self.ended(agent)

    def room_event(self, room: Any, event: str, *_: Any, **__: Any) -> None:
        """``Room.emit``: for its agents a room that is left is the end, there is no other."""
        if event != "disconnected":
            return
        with self._lock:
            ended = [agent for agent in self._states if host.room_of(agent) is room]
        for agent in ended:
            self.ended(agent)
