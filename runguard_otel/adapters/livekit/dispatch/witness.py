"""The server's word on whom a holder serves: it knows of a departure before the agent is told.

LiveKit's server gathers the comings and goings of those who publish nothing and tells the others
every three seconds; until then an agent waits for a caller who is gone. So each agent shows in the
room whom it serves, and whoever needs its claim asks the server whether that caller is still there.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from typing import Any

from runguard_otel.adapters.livekit.dispatch.fencing import ATTRIBUTE, SERVING
from runguard_otel.adapters.livekit.facts.room import Person, own_api, people, serving_mark
from runguard_otel.core.ports import ClaimHolder

__all__ = ["Witness", "serves", "who_is_there"]

logger = logging.getLogger("runguard_otel")

ASK_SECONDS = 1.0
"""How long one question may take: no call waits for it, and no job hangs on it."""
EVERY_SECONDS = 0.4


async def who_is_there(api: Any, room: str) -> list[Person] | None:
    """Everybody in a room, as the server says within a second; ``None`` if it does not.

    Args:
        api: LiveKit's ``LiveKitAPI``.
        room: The room's name.
    """
    try:
        return await asyncio.wait_for(people(api, room), ASK_SECONDS)
    except Exception:  # no credentials, no network, no room: whatever it is, it does not say
        logger.debug("the server does not say who is in the room", exc_info=True)
        return None


def serves(present: list[Person], token: int) -> bool | None:
    """Whether the agent with that token has its caller.

    Args:
        present: Everybody in the room, as the server says.
        token: The agent's fencing token.

    Returns:
        ``None`` if nothing can be told: the agent is not there (yet), does not say whom it serves,
        or its caller is there again under another sid. Whether it goes on with that one is its
        session's decision.
    """
    for person in present:
        if token and person.attributes.get(ATTRIBUTE, "").rpartition(":")[2] == str(token):
            sid, _, identity = person.attributes.get(SERVING, "").partition(":")
            if not sid:
                return None
            if any(other.sid == sid for other in present):
                return True
            marks = {serving_mark(other.sid, other.identity).partition(":")[2] for other in present}
            return None if identity in marks else False
    return None


class Witness:
    """Asks the server again and again for as long as a job stands by.

    It begins with the first question it is asked and is silent for good when the server cannot be
    asked: a job that stands by then waits for the holder's own word.

    Args:
        room: The room's name.
        api: Makes a ``LiveKitAPI`` with a session of its own: that of the job would first load all
            certificates of the host, on the job's loop.
    """

    def __init__(self, room: str, api: Callable[[], Any] = own_api) -> None:
        self._room = room
        self._api = api
        self._present: list[Person] = []
        self._news: Callable[[], None] = lambda: None
        self._asking: asyncio.Task[None] | None = None

    def serves(self, holder: ClaimHolder, news: Callable[[], None]) -> bool | None:
        """See :data:`~runguard_otel.core.ports.Serves`."""
        self._news = news
        if self._asking is None:
            self._asking = asyncio.get_running_loop().create_task(
                self._ask(), name="runguard-witness"
            )
        return serves(self._present, holder.token)

    def close(self) -> None:
        """The job stands by no longer."""
        if self._asking is not None:
            self._asking.cancel()

    async def _ask(self) -> None:
        try:
            api = self._api()
        except ValueError:  # no address or no key: LiveKit finds them in the environment only
            return
        try:
            while (present := await who_is_there(api, self._room)) is not None:
                if present != self._present:
                    self._present = present
                    self._news()
                await asyncio.sleep(EVERY_SECONDS)
            self._present = []
        finally:
            await api.aclose()
