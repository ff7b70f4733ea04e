"""The thread that tells, beside the calls and never in their way."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from typing import Final

from runguard_otel.core.signatures import GuardName
from runguard_otel.core.verdict import Mode
from runguard_otel.notify.address import Address
from runguard_otel.notify.incidents import Incidents, Loop, Notice
from runguard_otel.notify.messages import Owner, body, headers
from runguard_otel.notify.sending import NotSent, send

__all__ = ["Notifier"]

logger = logging.getLogger("runguard_otel")

_TRIPS, _OPEN = "runguard.trips", "runguard.guards.open"
_BURST: Final = 10
_SECONDS_PER_NOTICE: Final = 60.0
_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 300.0

Send = Callable[[str, bytes, Mapping[str, str]], None]


class Notifier:
    """Watches what a worker counts, and tells of loops.

    Ten notices at once and one a minute after that; what has to wait is told later if it still
    lasts, so nothing queues up. An address that does not answer is asked again after 2, 4, 8 ...
    300 s; one that refuses a notice does not get that notice again.

    Args:
        address: Where to.
        send: Brings it there; raises :class:`~runguard_otel.notify.sending.NotSent`.
        clock: Monotonic seconds.
    """

    metrics: Final = frozenset({_TRIPS, _OPEN})
    """The names it wants to hear of."""

    def __init__(
        self,
        address: Address,
        *,
        send: Send = send,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._send = send
        self._clock = clock
        self._owner = Owner("livekit-agents")
        self._incidents = Incidents()
        self._lock = threading.Lock()
        self._heard: dict[tuple[str, Loop, Mode], float] = {}
        self._left = float(_BURST)
        self._filled = clock()
        self._pause = 0.0
        self._broken = False
        self._not_before = float("-inf")
        self._ended = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def destination(self) -> str:
        """Where it tells, for people."""
        return f"notifications to {self._address.shown}"

    def counted(self, metric: str, attributes: Mapping[str, str], value: float) -> None:
        """Something was counted; sums it and returns, from any thread.

        Args:
            metric: One of :attr:`metrics`.
            attributes: Short names and values of the closed sets, so that the sums are bounded.
            value: The change.
        """
        mode = Mode(attributes.get("mode") or Mode.OBSERVE)
        if not value or (metric == _OPEN and mode is not Mode.OBSERVE):
            return  # a guard that acts is open after it has stopped the loop
        guard = GuardName(attributes["guard"])
        loop = Loop(guard, attributes.get("signature") or guard.value, attributes["agent"])
        key = (metric, loop, mode)
        with self._lock:
            self._heard[key] = self._heard.get(key, 0) + value

    def start(self, service: str, cluster: str) -> None:
        """The worker runs: begin to tell.

        Args:
            service: Its ``service.name``.
            cluster: Its ``k8s.cluster.name``, or empty.
        """
        self._owner = Owner(service, cluster)
        self._thread = threading.Thread(target=self._run, name="runguard-notify", daemon=True)
        self._thread.start()

    def stop(self, timeout: float) -> None:
        """The worker ends: tell the end of what was told. Blocks for at most ``timeout``."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join(timeout)

    def tick(self) -> None:
        """Tell what is due. Blocks while it sends."""
        now = self._clock()
        self._take_in(now)
        self._left = min(_BURST, self._left + (now - self._filled) / _SECONDS_PER_NOTICE)
        self._filled = now
        for notice in self._incidents.due(now):
            if self._left < 1 or self._clock() < self._not_before:
                return
            self._tell(notice)

    def safely(self, work: Callable[[], None]) -> None:
        """Do it; faults of our own are said once, and once that they are over. Raises nothing."""
        try:
            work()
        except Exception:  # the next second is a new chance
            if not self._broken:
                logger.exception("notifications failed; calls are not affected, trying again")
            self._broken = True
            return
        if self._broken:
            logger.info("notifications work again")
        self._broken = False

    def end(self) -> None:
        """Tell the end of everything that was told, once."""
        self._take_in(self._clock())
        for notice in self._incidents.over(self._clock()):
            try:
                self._post(notice)
            except NotSent:
                return  # the next would wait as long, and the worker is to end

    def _run(self) -> None:
        while not self._ended.wait(1.0):
            self.safely(self.tick)
        self.safely(self.end)

    def _take_in(self, now: float) -> None:
        with self._lock:
            heard, self._heard = self._heard, {}
        for (metric, loop, mode), value in heard.items():
            if metric == _TRIPS:
                self._incidents.tripped(loop, mode, value, now)
            else:
                self._incidents.opened(loop, value, now)

    def _tell(self, notice: Notice) -> None:
        try:
            self._post(notice)
        except NotSent as error:
            if not error.again:
                logger.warning(
                    "%s does not take the notice on %s: %s; it is not sent again",
                    self._address.shown, notice.loop.signature, error,
                )  # fmt: skip
                self._incidents.told(notice)
                return
            if not self._pause:
                logger.warning(
                    "%s cannot be told of %s: %s; trying again while it lasts",
                    self._address.shown, notice.loop.signature, error,
                )  # fmt: skip
            self._pause = min(_LONGEST_PAUSE, self._pause * 2 or _FIRST_PAUSE)
            self._not_before = self._clock() + self._pause
            return
        if self._pause:
            logger.info("%s answers again", self._address.shown)
        self._pause = 0.0
        self._left -= 1
        self._incidents.told(notice)

    def _post(self, notice: Notice) -> None:
        address = self._address
        self._send(address.url, body(address, self._owner, notice), headers(address))
