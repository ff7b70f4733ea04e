"""``dynamodb://table``: claims as conditional updates of one item, with no clock compared.

An item has no lease end. A standby that has watched the same renewal version for the record's own
lease length, on its own clock, may take it over on the condition that it still is that version.
"""

from __future__ import annotations

import time
import uuid
from contextlib import AbstractAsyncContextManager, suppress
from typing import Literal
from urllib.parse import parse_qsl, urlsplit

from runguard_otel.claims.redact import redact_url, unreadable
from runguard_otel.claims.registries.dynamodb.table import Item, Table
from runguard_otel.claims.registry import (
    ClaimRecord,
    Granted,
    Held,
    Holder,
    How,
    Missing,
    Observation,
    Renewed,
    Superseded,
    UnreadableRecord,
    readable,
)
from runguard_otel.errors import SettingsError

__all__ = ["DynamoRegistry"]

KEEP_SECONDS = 7 * 86_400
"""After this long without a renewal DynamoDB may delete the item as garbage."""
OPTIONS = ("region", "endpoint", "create")

_WRITE = (
    "SET tok = if_not_exists(tok, :seed) + :one, job = :job, inst = :inst, wrk = :wrk,"
    " rvn = :rvn, ttl_ms = :ttl, st = :held, at_ms = :now, expires = :expires"
)
_FREE = (
    "attribute_not_exists(k) OR st = :free OR (st = :ending AND job <> :job)"
    " OR (job = :job AND inst <> :inst)"
)
_UNCHANGED = " OR (rvn = :seen AND ttl_ms <= :watched)"
_MINE = "tok = :tok AND inst = :inst AND st IN (:held, :ending)"


class DynamoRegistry:
    """See :class:`~runguard_otel.claims.registry.ClaimRegistry`.

    Credentials come from the usual AWS places, never from the URL.

    Args:
        url: ``dynamodb://table?region=...``; ``endpoint=`` for a compatible server, ``create=true``
            to make the table on first use.

    Raises:
        SettingsError: If the URL has no table or an unknown option.
    """

    backend = "dynamodb"
    default_timeout = 1.0

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
        except ValueError:  # its text may quote what stands there
            raise unreadable(url) from None
        name = parts.netloc or parts.path.strip("/")
        self._options = dict(parse_qsl(parts.query))
        unknown = sorted(set(self._options) - set(OPTIONS))
        if not name or "@" in name or unknown:
            raise SettingsError(
                f"claims_url {redact_url(url)!r} cannot be used; it is dynamodb://TABLE with the "
                f"options {', '.join(OPTIONS)}; credentials come from the AWS environment"
            )
        self._url = url
        self.table = name
        self._table = Table(
            name, region=self._options.get("region"), endpoint=self._options.get("endpoint")
        )

    def __repr__(self) -> str:
        return f"DynamoRegistry({redact_url(self._url)!r})"

    def turn(self) -> AbstractAsyncContextManager[object]:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        return self._table.turns

    async def open(self) -> None:
        """Make the client (about 0.3 s) and connect, so that the first claim need not."""
        if self._options.get("create") == "true":
            await self._table.create()
        await self._table.read("rg:v1:open")

    async def create_table(self) -> bool:
        """Make the table; see ``Table.create``."""
        return await self._table.create()

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        """See the protocol; without ``observed`` an unreleased claim is never taken over."""
        values = _values(who, ttl)
        condition = _FREE
        if observed is not None:
            condition += _UNCHANGED
            values |= {
                ":seen": observed.version,
                ":watched": int(observed.unchanged_seconds * 1000),
            }
        while True:
            done, old = await self._table.update(key, _WRITE, condition, values)
            with readable("DynamoDB"):
                if done:
                    token = int(old["tok"]["N"]) + 1 if old else int(values[":seed"]) + 1
                    return Granted(token, _how(old, who))
                if not old:  # deleted between the two calls
                    continue
                if (old["job"]["S"], old["inst"]["S"]) != (who.job_id, who.instance):
                    return _held(old)
                values[":tok"] = int(old["tok"]["N"])
            update = "SET rvn = :rvn, ttl_ms = :ttl, st = :held"
            kept, _ = await self._table.update(key, update, _MINE, values)
            if kept:
                return Granted(int(values[":tok"]), "reentrant")

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        values = _values(who, ttl) | {":tok": token}
        state = ":ending" if ending else ":held"
        update = f"SET rvn = :rvn, ttl_ms = :ttl, expires = :expires, st = {state}"
        done, old = await self._table.update(key, update, _MINE, values)
        if done:
            return Renewed()
        if not old:
            return Missing()
        with readable("DynamoDB"):
            return Superseded(int(old["tok"]["N"]), old["job"]["S"], old["inst"]["S"])

    async def release(self, key: str, who: Holder, token: int) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        values = _values(who, 0) | {":tok": token}
        done, _ = await self._table.update(key, "SET st = :free", _MINE, values)
        return done

    async def abandon(self, key: str, job_id: str, worker: str) -> bool:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        values = _values(Holder(job_id, "", worker), 0)
        condition = "job = :job AND wrk = :wrk AND st IN (:held, :ending)"
        done, _ = await self._table.update(key, "SET st = :free", condition, values)
        return done

    async def inspect(self, key: str | None = None) -> list[ClaimRecord]:
        """See the protocol. Without a key the whole table is scanned."""
        if key is not None:
            item = await self._table.read(key)
            return [_record(item)] if item else []
        records = []
        for item in await self._table.scan():
            with suppress(UnreadableRecord):
                records.append(_record(item))
        return sorted(records, key=lambda record: record.key)

    async def aclose(self) -> None:
        """See :class:`~runguard_otel.claims.registry.ClaimRegistry`."""
        await self._table.close()


def _values(who: Holder, ttl: float) -> dict[str, str | int]:
    now = time.time()  # for people and for garbage collection, and as a first token; never compared
    return {
        ":job": who.job_id,
        ":inst": who.instance,
        ":wrk": who.worker,
        ":rvn": uuid.uuid4().hex,
        ":ttl": round(ttl * 1000),
        ":held": "held",
        ":ending": "ending",
        ":free": "free",
        ":one": 1,
        ":seed": int(now * 1e6),
        ":now": int(now * 1000),
        ":expires": int(now) + KEEP_SECONDS,
    }


def _how(old: Item, who: Holder) -> How:
    if not old or old["st"]["S"] == "free":
        return "new"
    if old["job"]["S"] == who.job_id:
        return "handoff"
    return "passed_on" if old["st"]["S"] == "ending" else "takeover"


def _held(item: Item) -> Held:
    return Held(
        token=int(item["tok"]["N"]),
        version=item["rvn"]["S"],
        instance=item["inst"]["S"],
        job_id=item["job"]["S"],
        remaining=None,
        worker=item["wrk"]["S"],
        held_seconds=max(0.0, time.time() - int(item["at_ms"]["N"]) / 1000),
    )


_STATES: dict[str, Literal["held", "ending", "released"]] = {
    "held": "held",
    "ending": "ending",
    "free": "released",
}


@readable("DynamoDB")
def _record(item: Item) -> ClaimRecord:
    return ClaimRecord(
        key=item["k"]["S"],
        token=int(item["tok"]["N"]),
        job_id=item["job"]["S"],
        instance=item["inst"]["S"],
        worker=item["wrk"]["S"],
        acquired_at=int(item["at_ms"]["N"]) / 1000,
        remaining=0.0 if item["st"]["S"] == "free" else None,
        version=item["rvn"]["S"],
        state=_STATES[item["st"]["S"]],
    )
