"""The registries of the first release, which knew nothing of claims that end, as they wrote then.

Only what differs: their statements and scripts, word for word. Workers of both releases may share a
registry while a fleet is brought up to date.
"""

from __future__ import annotations

from typing import Any, cast

from runguard_otel.claims import lease as rules
from runguard_otel.claims.registries.dynamodb import registry as dynamodb
from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
from runguard_otel.claims.registries.postgres.registry import PostgresRegistry
from runguard_otel.claims.registries.redis import scripts
from runguard_otel.claims.registries.redis.registry import RedisRegistry
from runguard_otel.claims.registries.sqlite import SqliteRegistry
from runguard_otel.claims.registry import (
    Granted,
    Held,
    Holder,
    How,
    Missing,
    Observation,
    Renewed,
    Superseded,
)

__all__ = ["FirstDynamo", "FirstPostgres", "FirstRedis", "FirstSqlite"]

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
"""
_ACQUIRE = (
    _NOW
    + """
local job, inst, wrk, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local r = redis.call('HMGET', KEYS[1], 'tok', 'job', 'inst', 'till', 'n')
local token, how = now, 'new'
if r[1] then
  local till = tonumber(r[4])
  if till > 0 and r[2] ~= job and till > now then
    return {0, r[1], r[5], r[3], r[2], string.format('%.0f', till - now)}
  end
  token = math.max(tonumber(r[1]) + 1, now)
  if till > 0 then
    if r[2] ~= job then
      how = 'takeover'
    elseif r[3] ~= inst then
      how = 'handoff'
    else
      how = 'reentrant'
      token = tonumber(r[1])
    end
  end
end
token = string.format('%.0f', token)
local n = '0'
if how == 'reentrant' then n = string.format('%.0f', tonumber(r[5]) + 1) end
redis.call('HSET', KEYS[1], 'tok', token, 'job', job, 'inst', inst, 'wrk', wrk, 'n', n,
  'at', string.format('%.0f', now), 'till', string.format('%.0f', now + ttl * 1000))
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl + ARGV[5]))
return {1, token, how}
"""
)
_RENEW = (
    _NOW
    + """
local r = redis.call('HMGET', KEYS[1], 'tok', 'inst', 'till', 'job')
if not r[1] then return {0} end
if r[1] ~= ARGV[2] or r[2] ~= ARGV[1] or r[3] == '0' then return {-1, r[1], r[4], r[2]} end
redis.call('HSET', KEYS[1], 'till', string.format('%.0f', now + ARGV[3] * 1000))
redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[3] + ARGV[4]))
return {1}
"""
)


class FirstRedis(RedisRegistry):
    """Its scripts."""

    def __init__(self, url: str) -> None:
        super().__init__(url)
        self._acquire, self._renew = self._register(_ACQUIRE), self._register(_RENEW)

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        args = (who.job_id, who.instance, who.worker, round(ttl * 1000), scripts.RETENTION_MS)
        answer = await self._run(self._acquire, key, *args)
        if int(answer[0]) == 1:
            return Granted(int(answer[1]), cast("How", answer[2].decode()))
        token, version, instance, job, remaining = (value.decode() for value in answer[1:])
        return Held(int(token), version, instance, job, int(remaining) / 1e6)


_PEEK = """
SELECT tok, n, inst, job, extract(epoch FROM till - clock_timestamp())::float8
FROM runguard_claim WHERE k = $1 AND job <> $2 AND till > clock_timestamp()
"""
_TAKE = """
INSERT INTO runguard_claim AS c (k, tok, job, inst, wrk, at, till, n, how)
VALUES ($1, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint, $2, $3, $4,
        clock_timestamp(), clock_timestamp() + $5::float8 * interval '1 second', 0, 'new')
ON CONFLICT (k) DO UPDATE SET
    tok = CASE WHEN c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst AND c.till > '-infinity'
               THEN c.tok ELSE greatest(c.tok + 1, EXCLUDED.tok) END,
    how = CASE WHEN c.till = '-infinity' THEN 'new'
               WHEN c.job <> EXCLUDED.job THEN 'takeover'
               WHEN c.inst <> EXCLUDED.inst THEN 'handoff'
               ELSE 'reentrant' END,
    n = CASE WHEN c.job = EXCLUDED.job AND c.inst = EXCLUDED.inst AND c.till > '-infinity'
             THEN c.n + 1 ELSE 0 END,
    job = EXCLUDED.job, inst = EXCLUDED.inst, wrk = EXCLUDED.wrk,
    at = clock_timestamp(),
    till = clock_timestamp() + $5::float8 * interval '1 second'
WHERE c.till <= clock_timestamp() OR c.job = EXCLUDED.job
RETURNING tok, how
"""
_TILL = """
UPDATE runguard_claim SET till = clock_timestamp() + $4::float8 * interval '1 second', n = n + 1
WHERE k = $1 AND tok = $2 AND inst = $3 AND till > '-infinity' RETURNING tok
"""
_READ = "SELECT tok, job, inst FROM runguard_claim WHERE k = $1"


class FirstPostgres(PostgresRegistry):
    """Its statements."""

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        for token, n, instance, job, remaining in await self._fetch(_PEEK, key, who.job_id):
            return Held(token, str(n), instance, job, remaining)
        ((token, how),) = await self._fetch(_TAKE, key, who.job_id, who.instance, who.worker, ttl)
        return Granted(token, how)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        if await self._fetch(_TILL, key, token, who.instance, ttl):
            return Renewed()
        for row in await self._fetch(_READ, key):
            return Superseded(*row)
        return Missing()


class FirstSqlite(SqliteRegistry):
    """Its ``held`` is 0 or 1, and whatever is not 0 is held."""

    def _lease(self, row: tuple[Any, ...]) -> rules.Lease:
        return super()._lease((*row[:-1], int(bool(row[-1]))))


class FirstDynamo(DynamoRegistry):
    """Its conditions."""

    async def acquire(
        self, key: str, who: Holder, ttl: float, *, observed: Observation | None = None
    ) -> Granted | Held:
        values = dynamodb._values(who, ttl)
        condition = "attribute_not_exists(k) OR st = :free OR (job = :job AND inst <> :inst)"
        if observed is not None:
            condition += dynamodb._UNCHANGED
            watched = int(observed.unchanged_seconds * 1000)
            values |= {":seen": observed.version, ":watched": watched}
        done, old = await self._table.update(key, dynamodb._WRITE, condition, values)
        if done:
            token = int(old["tok"]["N"]) + 1 if old else int(values[":seed"]) + 1
            return Granted(token, "new" if not old or old["st"]["S"] == "free" else "takeover")
        return dynamodb._held(old)

    async def renew(
        self, key: str, who: Holder, token: int, ttl: float, *, ending: bool = False
    ) -> Renewed | Superseded | Missing:
        values = dynamodb._values(who, ttl) | {":tok": token}
        update = "SET rvn = :rvn, ttl_ms = :ttl, expires = :expires"
        mine = "tok = :tok AND inst = :inst AND st = :held"
        done, old = await self._table.update(key, update, mine, values)
        if done:
            return Renewed()
        return Superseded(int(old["tok"]["N"]), old["job"]["S"], old["inst"]["S"])
