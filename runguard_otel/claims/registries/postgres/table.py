"""The table of claims in PostgreSQL: made on first use, tidied, listed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from runguard_otel.claims.redact import scrub
from runguard_otel.claims.registries.postgres.driver import Driver, Row
from runguard_otel.claims.registry import ClaimRecord, RegistryUnavailable

__all__ = ["ADVISORY", "ENDING", "LEASES", "SCHEMA", "asking", "listing", "prepare"]

LEASES = "runguard_claim"
ADVISORY = "runguard_claim_advisory"
"""A table of its own: its rows have no lease end, which lease mode would wait for without end."""
KEEP_DAYS = 7
"""Rows that no job has touched for this long are purged when a registry opens."""

ENDING = "ending"
"""The word in ``how`` of a row whose holder ends; every grant writes another word there."""

# LOGGED on purpose: an UNLOGGED table is emptied after a crash, and with it every claim.
SCHEMA = (
    """
CREATE TABLE IF NOT EXISTS {table} (
    k text PRIMARY KEY,
    tok bigint NOT NULL,
    job text NOT NULL,
    inst text NOT NULL,
    wrk text NOT NULL,
    at timestamptz NOT NULL,
    till timestamptz NOT NULL,
    n bigint NOT NULL DEFAULT 0,
    how text NOT NULL
) WITH (fillfactor = 70)
""",
    "CREATE INDEX IF NOT EXISTS {table}_at ON {table} (at)",
)
"""Statements that make the table; renewals leave the index alone, so they stay cheap."""

_LIST = """
SELECT k, tok, job, inst, wrk, extract(epoch FROM at)::float8, till > '-infinity', how,
    CASE WHEN isfinite(till) THEN extract(epoch FROM till - clock_timestamp())::float8 END, n
FROM {table} WHERE $1::text IS NULL OR k = $1::text ORDER BY k
"""
_PURGE = """
DELETE FROM {table} WHERE k IN (
    SELECT k FROM {table} WHERE at < clock_timestamp() - {days} * interval '1 day'
        AND till < clock_timestamp() - {days} * interval '1 day' LIMIT 1000)
"""


@contextmanager
def asking(driver: Driver, url: str) -> Iterator[None]:
    """Turn what a driver raises into the one exception a registry may raise, without secrets."""
    try:
        yield
    except driver.errors as error:
        # ``from None``: a chained driver error would bring the credentials back into the log.
        raise RegistryUnavailable(
            f"PostgreSQL: {type(error).__name__}: {scrub(str(error), url)}"
        ) from None


async def prepare(driver: Driver, table: str) -> None:
    """Create the table on first use where that is allowed, and forget what ended long ago.

    Raises:
        RegistryUnavailable: If it does not exist and may not be created.
    """
    there = "SELECT to_regclass($1) IS NOT NULL"
    if not (await driver.fetch(there, table))[0][0]:
        try:
            for statement in SCHEMA:
                await driver.fetch(statement.format(table=table))
        except driver.errors as error:
            # Of two workers that create it at once, one may be told that it exists already.
            if not (await driver.fetch(there, table))[0][0]:
                raise RegistryUnavailable(
                    f"PostgreSQL: table {table} is missing and this user may not create it "
                    f"({type(error).__name__}); run `runguard-otel claims init` as one who may"
                ) from None
    with suppress(*driver.errors):  # housekeeping: who may not DELETE may still claim
        await driver.fetch(_PURGE.format(table=table, days=KEEP_DAYS))


async def listing(driver: Driver, table: str, key: str | None) -> list[ClaimRecord]:
    """The records for people."""
    return [_record(row) for row in await driver.fetch(_LIST.format(table=table), key)]


def _record(row: Row) -> ClaimRecord:
    """A row of the listing as a record."""
    key, token, job, instance, worker, at, held, how, remaining, n = row
    if not held:
        remaining = 0.0
    elif remaining is not None:
        remaining = max(0.0, remaining)
    state: Any = "released" if not held else "ending" if how == ENDING else "held"
    return ClaimRecord(key, token, job, instance, worker, at, remaining, str(n), state)
