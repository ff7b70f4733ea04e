"""What Redis runs: each write is one script on one hash, so it happens whole or not at all.

Fields: ``tok`` token, ``job``, ``inst``, ``wrk``, ``at`` (microseconds, for people), ``till``
(lease end in microseconds, 0 once released), ``n`` renewals, ``ending`` the token whose holder
ends: scripts of the first release leave that field alone, so only the record's own token counts in
it. Times are the server's own, from ``TIME``; microseconds stay below 2^53, so Lua's doubles hold
them exactly, and ``%.0f`` writes them without an exponent. A script whose reply was lost can be
sent again: the same instance is answered with the same token.
"""

from __future__ import annotations

__all__ = ["ABANDON", "ACQUIRE", "RELEASE", "RENEW", "RETENTION_MS"]

RETENTION_MS = 600_000
"""How long a record outlives its lease, in milliseconds: memory of the token and of who held it."""

_NOW = """
local t = redis.call('TIME')
local now = t[1] * 1000000 + t[2]
"""

# KEYS[1] the claim; ARGV job, instance, worker, ttl in ms, retention in ms, token and version of a
# holder that was silent for too long; returns {1, token, how} or
# {0, token, version, instance, job, remaining in us, worker, held for in us}
ACQUIRE = (
    _NOW
    + """
local job, inst, wrk, ttl = ARGV[1], ARGV[2], ARGV[3], tonumber(ARGV[4])
local r = redis.call('HMGET', KEYS[1], 'tok', 'job', 'inst', 'till', 'n', 'ending', 'wrk', 'at')
local token, how, at = now, 'new', string.format('%.0f', now)
if r[1] then
  local till = tonumber(r[4])
  local ending = r[6] == r[1]
  local silent = r[1] == ARGV[6] and r[5] == ARGV[7]
  if till > now and r[2] ~= job and not ending and not silent then
    return {0, r[1], r[5], r[3], r[2], string.format('%.0f', till - now),
      r[7], string.format('%.0f', now - tonumber(r[8]))}
  end
  token = math.max(tonumber(r[1]) + 1, now)
  if till > 0 then
    if r[2] ~= job then
      how = ending and 'passed_on' or 'takeover'
    elseif r[3] ~= inst then
      how = 'handoff'
    else
      how = 'reentrant'
      token, at = tonumber(r[1]), r[8]
    end
  end
end
token = string.format('%.0f', token)
local n = '0'
if how == 'reentrant' then n = string.format('%.0f', tonumber(r[5]) + 1) end
redis.call('HSET', KEYS[1], 'tok', token, 'job', job, 'inst', inst, 'wrk', wrk, 'n', n,
  'at', at, 'till', string.format('%.0f', now + ttl * 1000), 'ending', '0')
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ttl + ARGV[5]))
return {1, token, how}
"""
)

# KEYS[1] the claim; ARGV instance, token, ttl in ms, retention in ms, the token if it ends, else 0
# returns {1} renewed, {0} no record, {-1, token, job, instance} somebody else's or released
RENEW = (
    _NOW
    + """
local r = redis.call('HMGET', KEYS[1], 'tok', 'inst', 'till', 'job')
if not r[1] then return {0} end
if r[1] ~= ARGV[2] or r[2] ~= ARGV[1] or r[3] == '0' then return {-1, r[1], r[4], r[2]} end
redis.call('HSET', KEYS[1], 'till', string.format('%.0f', now + ARGV[3] * 1000), 'ending', ARGV[5])
redis.call('HINCRBY', KEYS[1], 'n', 1)
redis.call('PEXPIRE', KEYS[1], string.format('%.0f', ARGV[3] + ARGV[4]))
return {1}
"""
)

# KEYS[1] the claim; ARGV instance, token, retention in ms; returns 1 if this call released it
RELEASE = """
local r = redis.call('HMGET', KEYS[1], 'tok', 'inst', 'till')
if r[1] ~= ARGV[2] or r[2] ~= ARGV[1] or r[3] == '0' then return 0 end
redis.call('HSET', KEYS[1], 'till', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""

# KEYS[1] the claim; ARGV job, worker, retention in ms; returns 1 if this call released it
ABANDON = """
local r = redis.call('HMGET', KEYS[1], 'job', 'wrk', 'till')
if r[1] ~= ARGV[1] or r[2] ~= ARGV[2] or r[3] == '0' then return 0 end
redis.call('HSET', KEYS[1], 'till', '0')
redis.call('PEXPIRE', KEYS[1], ARGV[3])
return 1
"""
