"""Which driver: the one of a pool that was given, the one asked for, or the one that is there."""

from __future__ import annotations

from runguard_otel.claims.registries.postgres.asyncpg import AsyncpgDriver
from runguard_otel.claims.registries.postgres.driver import Driver
from runguard_otel.claims.registries.postgres.psycopg import PsycopgDriver
from runguard_otel.errors import SettingsError

__all__ = ["driver_for"]


def driver_for(url: str, name: str | None, pool: object | None = None) -> Driver:
    """Choose the driver: by the pool given, by name, else psycopg, else asyncpg.

    Args:
        url: Connection URL, without our own options; unused with a pool.
        name: ``psycopg`` or ``asyncpg``.
        pool: A user's own ``psycopg_pool.AsyncConnectionPool`` or ``asyncpg.Pool``.

    Raises:
        SettingsError: For another name or another kind of pool, or if asyncpg was asked for and is
            not installed.
        ImportError: If there is no driver.
    """
    if pool is not None:
        kind = type(pool).__module__.partition(".")[0]
        if kind == "asyncpg":
            return AsyncpgDriver(url, pool)  # type: ignore[arg-type]  # told apart by its module
        if kind == "psycopg_pool":
            return PsycopgDriver(url, pool)  # type: ignore[arg-type]  # told apart by its module
        raise SettingsError(f"a pool of psycopg_pool or asyncpg is needed, not {type(pool)!r}")
    if name not in (None, "psycopg", "asyncpg"):
        raise SettingsError(f"claims_url option driver={name!r}; allowed: psycopg, asyncpg")
    if name == "asyncpg":
        try:
            return AsyncpgDriver(url)
        except ImportError as missing:  # no extra of ours brings it
            raise SettingsError(
                f"driver=asyncpg needs the package asyncpg: pip install asyncpg ({missing})"
            ) from missing
    try:
        return PsycopgDriver(url)
    except ImportError as missing:
        if name:
            raise
        try:
            return AsyncpgDriver(url)
        except ImportError:  # neither is there: name the one that the extra installs
            raise missing from None
