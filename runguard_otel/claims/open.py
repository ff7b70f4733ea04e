"""From a URL to a registry; a backend's module is imported only when its scheme is asked for."""

from __future__ import annotations

import logging
from contextlib import suppress
from importlib import import_module
from typing import cast
from urllib.parse import unquote

from runguard_otel.claims.redact import unreadable
from runguard_otel.claims.registry import ClaimRegistry
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

__all__ = ["SCHEMES", "backend_of", "load", "not_installed", "open_registry", "unknown_scheme"]

logger = logging.getLogger("runguard_otel")

_NETWORKED = {
    "redis": ("redis", "RedisRegistry", ""),
    "rediss": ("redis", "RedisRegistry", ""),
    "unix": ("redis", "RedisRegistry", ""),
    "redis+cluster": ("redis", "RedisRegistry", ""),
    "rediss+cluster": ("redis", "RedisRegistry", ""),
    "redis+sentinel": ("redis", "RedisRegistry", ""),
    "rediss+sentinel": ("redis", "RedisRegistry", ""),
    "postgresql": ("postgres", "PostgresRegistry", "postgres"),
    "postgres": ("postgres", "PostgresRegistry", "postgres"),
    "dynamodb": ("dynamodb", "DynamoRegistry", "dynamodb"),
}
SCHEMES = ("memory", "sqlite", *_NETWORKED)
_HEAVY = {
    "redis": ("runguard_otel.claims.redis_client",),
    "postgres": ("psycopg",),
    "asyncpg": ("asyncpg",),
    "dynamodb": ("aiobotocore.session",),
}
"""What a backend, or the driver it is told to use, imports at its first use."""


def backend_of(url: str) -> str:
    """The kind of registry a URL names, as a metric label; ``sqlite`` for an empty one."""
    scheme = url.partition("://")[0].lower()
    if scheme in _NETWORKED:
        return _NETWORKED[scheme][0]
    return "memory" if scheme == "memory" else "sqlite"


def load(url: str) -> None:
    """Import what the registry of that URL needs. Raises nothing; opening it says what is missing.

    It takes up to half a second, in which a running event loop would stand still.
    """
    backend = backend_of(url)
    driver = "asyncpg" if backend == "postgres" and "driver=asyncpg" in url else backend
    for module in (f"runguard_otel.claims.{backend}", *_HEAVY.get(driver, ())):
        with suppress(ImportError):
            import_module(module)


def open_registry(url: str, settings: Settings) -> ClaimRegistry:
    """Build the registry a URL names. Nothing is connected yet.

    Args:
        url: One of the schemes in :data:`SCHEMES`; empty for the host's default SQLite file.
        settings: Handed to the networked registries.

    A networked backend is the class named in ``_NETWORKED``, built by its class method
    ``from_url(url: str, settings: Settings)``.

    Raises:
        SettingsError: If the scheme is unknown, the URL lacks a part, or the backend's extra is not
            installed. The message names what to do and holds no credentials.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not url or scheme == "sqlite":
        return _sqlite(rest if url else "")
    if scheme == "memory" and separator:
        from runguard_otel.claims.memory import MemoryRegistry, shared_store

        logger.warning(
            "memory:// claims protect this process only; LiveKit starts one process per job unless "
            "job_executor_type is THREAD"
        )
        return MemoryRegistry(shared_store(rest))
    if not separator or scheme not in _NETWORKED:
        raise unknown_scheme(url)
    module, name, extra = _NETWORKED[scheme]
    try:
        backend = getattr(import_module(f"runguard_otel.claims.{module}"), name)
        return cast("ClaimRegistry", backend.from_url(url, settings))
    except SettingsError:
        raise
    except ValueError:  # its text may quote the password
        raise unreadable(url) from None
    except ImportError as error:
        raise not_installed(scheme, extra, error) from error


def unknown_scheme(url: str) -> SettingsError:
    """The error for a URL that names no registry of ours."""
    # Where the password is in such a text nobody can say: no more than a scheme is shown.
    scheme, separator, _ = url.partition("://")
    word = scheme.lower().partition(":")[0].rstrip("/")
    known = word in SCHEMES or (separator and word.isalnum())
    begins = f"claims_url {word + separator + '...'!r}" if known else "claims_url"
    return SettingsError(
        f"{begins} cannot be used; allowed schemes: {', '.join(f'{s}://' for s in SCHEMES)}"
    )


def not_installed(scheme: str, extra: str, error: ImportError) -> SettingsError:
    """The error for a registry whose packages are not there; ``extra`` is what brings them."""
    package = f"runguard-otel[{extra}]" if extra else "runguard-otel"
    return SettingsError(f"{scheme}:// claims need an extra: pip install '{package}' ({error})")


def _sqlite(rest: str) -> ClaimRegistry:
    from runguard_otel.claims.sqlite import SqliteRegistry, default_path

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
