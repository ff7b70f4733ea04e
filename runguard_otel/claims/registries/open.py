"""From a URL to a registry; a backend's module is imported only when its scheme is asked for."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from urllib.parse import unquote, urlsplit

from runguard_otel.claims.registry import ClaimRegistry
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

__all__ = [
    "SCHEMES",
    "backend_of",
    "check_scheme",
    "load",
    "not_installed",
    "open_registry",
    "unknown_scheme",
]

logger = logging.getLogger("runguard_otel")

_HERE = __name__.rpartition(".")[0]
_BACKEND_OF = {
    "memory": "memory",
    "sqlite": "sqlite",
    "redis": "redis",
    "rediss": "redis",
    "unix": "redis",
    "redis+cluster": "redis",
    "rediss+cluster": "redis",
    "redis+sentinel": "redis",
    "rediss+sentinel": "redis",
    "postgresql": "postgres",
    "postgres": "postgres",
    "dynamodb": "dynamodb",
}
SCHEMES = tuple(_BACKEND_OF)
_LOADED = {
    "memory": ("memory",),
    "sqlite": ("sqlite",),
    "redis": ("redis.registry", "redis.client"),
    "postgres": ("postgres.registry",),
    "dynamodb": ("dynamodb.registry",),
}
_DRIVERS = {
    "redis": "email.parser",  # redis-py reads its own version from its metadata at the first pool
    "postgres": "psycopg",
    "asyncpg": "asyncpg",
    "dynamodb": "aiobotocore.session",
}
"""What a backend, or the driver it is told to use, imports at its first use."""


def backend_of(url: str) -> str:
    """The kind of registry a URL names, as a metric label; ``sqlite`` for an empty one."""
    return _BACKEND_OF.get(url.partition("://")[0].lower(), "sqlite")


def load(url: str) -> None:
    """Import what the registry of that URL needs. Raises nothing; opening it says what is missing.

    It takes up to half a second, in which a running event loop would stand still.
    """
    backend = backend_of(url)
    driver = "asyncpg" if backend == "postgres" and "driver=asyncpg" in url else backend
    modules = [f"{_HERE}.{module}" for module in _LOADED[backend]]
    for module in (*modules, *filter(None, [_DRIVERS.get(driver)])):
        with suppress(ImportError):
            import_module(module)


def _unreadable(url: str) -> SettingsError:
    from runguard_otel.claims.redact import unreadable  # expressions that only a mistake needs

    return unreadable(url)


def open_registry(url: str, settings: Settings) -> ClaimRegistry:
    """Build the registry a URL names. Nothing is connected yet.

    Args:
        url: One of the schemes in :data:`SCHEMES`; empty for the host's default SQLite file.
        settings: Handed to the networked registries.

    Raises:
        SettingsError: If the scheme is unknown, the URL lacks a part, or the backend's extra is not
            installed. The message names what to do and holds no credentials.
    """
    check_scheme(url)
    backend = backend_of(url)
    try:
        return _BUILD[backend](url, settings)
    except SettingsError:
        raise
    except (ValueError, TypeError):  # its text may quote the password
        raise _unreadable(url) from None
    except ImportError as error:
        raise not_installed(url.partition("://")[0].lower(), backend, error) from error


def _memory(url: str, settings: Settings) -> ClaimRegistry:
    from runguard_otel.claims.registries.memory import MemoryRegistry, shared_store

    logger.warning(
        "memory:// claims protect this process only; LiveKit starts one process per job unless "
        "job_executor_type is THREAD"
    )
    return MemoryRegistry(shared_store(url.partition("://")[2]))


def _sqlite(url: str, settings: Settings) -> ClaimRegistry:
    from runguard_otel.claims.registries.sqlite import SqliteRegistry, default_path

    rest = url.partition("://")[2]
    if not rest:
        return SqliteRegistry(default_path())
    path = unquote(rest.partition("?")[0])
    if not path.startswith("/") or path == "/":
        raise SettingsError(
            "claims_url sqlite:// needs three slashes and an absolute path, as in "
            "sqlite:///var/lib/agent/claims.sqlite3"
        )
    if path[2:3] == ":":  # sqlite:///C:/...
        return SqliteRegistry(path[1:])
    return SqliteRegistry("/" + path.lstrip("/"))  # four slashes, as other tools write it, too


def _redis(url: str, settings: Settings) -> ClaimRegistry:
    from runguard_otel.claims.registries.redis.registry import RedisRegistry

    return RedisRegistry(url, wait_replicas=settings.claims_redis_wait_replicas)


def _postgres(url: str, settings: Settings) -> ClaimRegistry:
    from runguard_otel.claims.registries.postgres.advisory import PostgresAdvisoryRegistry
    from runguard_otel.claims.registries.postgres.driver import split_options
    from runguard_otel.claims.registries.postgres.registry import PostgresRegistry

    mode = split_options(url)[1].get("mode", "lease")
    if mode not in ("lease", "advisory"):
        raise SettingsError(f"claims_url option mode={mode!r}; allowed: lease, advisory")
    return PostgresRegistry(url) if mode == "lease" else PostgresAdvisoryRegistry(url)


def _dynamodb(url: str, settings: Settings) -> ClaimRegistry:
    from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry

    return DynamoRegistry(url)


_BUILD: dict[str, Callable[[str, Settings], ClaimRegistry]] = {
    "memory": _memory,
    "sqlite": _sqlite,
    "redis": _redis,
    "postgres": _postgres,
    "dynamodb": _dynamodb,
}


def check_scheme(url: str) -> None:
    """Refuse a URL that names no registry of ours; nothing is imported or connected.

    Args:
        url: As in ``claims_url``; empty for the default.

    Raises:
        SettingsError: If its scheme is none of :data:`SCHEMES`, or it names one server with a port
            that is none.
    """
    scheme, separator, _ = url.partition("://")
    if url and (not separator or scheme.lower() not in SCHEMES):
        raise unknown_scheme(url)
    try:
        if "," not in url:  # several servers; their registry reads them
            _ = urlsplit(url).port
    except ValueError:
        raise _unreadable(url) from None


def unknown_scheme(url: str) -> SettingsError:
    """The error for a URL that names no registry of ours."""
    # Where the password is in such a text is unknown: no more than a scheme is shown.
    scheme, separator, _ = url.partition("://")
    word = scheme.lower().partition(":")[0].rstrip("/")
    known = word in SCHEMES or (separator and word.isalnum())
    begins = f"claims_url {word + separator + '...'!r}" if known else "claims_url"
    return SettingsError(
        f"{begins} cannot be used; allowed schemes: {', '.join(f'{s}://' for s in SCHEMES)}"
    )


def not_installed(scheme: str, extra: str, error: ImportError) -> SettingsError:
    """The error for a registry whose packages are not there; ``extra`` is what brings them."""
    package = "runguard-otel" if extra == "redis" else f"runguard-otel[{extra}]"
    return SettingsError(f"{scheme}:// claims need an extra: pip install '{package}' ({error})")
