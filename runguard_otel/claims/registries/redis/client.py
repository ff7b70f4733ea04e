"""From a URL to a redis-py client that never retries and never waits long.

redis-py 8 retries ten times with a 5 s socket timeout by default. Both are wrong here: the holder
bounds a call to 250 ms and decides itself what to do next.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qsl, unquote, urlsplit

from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.cluster import ClusterNode, RedisCluster
from redis.asyncio.retry import Retry
from redis.asyncio.sentinel import Sentinel
from redis.backoff import NoBackoff

from runguard_otel.claims.redact import PERCENT_ENCODE, redact_url
from runguard_otel.errors import SettingsError

if TYPE_CHECKING:
    Client = Redis | RedisCluster

__all__ = ["CONNECTIONS", "SOCKET_TIMEOUT", "connect"]

SOCKET_TIMEOUT = 0.2
"""Seconds to wait for a connection, and for a reply; below the holder's bound of 0.25."""
CONNECTIONS = 4
"""How many calls of one registry are in flight at most; a pool's connections follow from that."""


def connect(url: str) -> tuple[Client, list[Any]]:
    """Build a client; nothing is connected yet.

    Args:
        url: ``redis://``, ``rediss://`` (certificate and host name verified), ``unix://``,
            ``redis+cluster://host,host`` or ``redis+sentinel://host,host/service/db``; the last two
            also as ``rediss+...``.

    Returns:
        The client, and all that must be closed with ``aclose()``.

    Raises:
        SettingsError: If the URL cannot be read.
    """
    scheme, _, _ = url.partition("://")
    transport, _, topology = scheme.lower().partition("+")
    try:
        if topology == "cluster":
            return _cluster(url, tls=transport == "rediss")
        if topology == "sentinel":
            return _sentinel(url, tls=transport == "rediss")
        pool = ConnectionPool.from_url(url, **_common())
        pool.connection_class(**pool.connection_kwargs)  # it alone knows which options there are
        client = Redis.from_pool(pool)
        return client, [client]
    except (ValueError, TypeError) as error:
        # The message of the driver may quote a password; the URL without it says enough.
        raise SettingsError(
            f"claims_url {redact_url(url)!r} is not a Redis URL ({type(error).__name__}); "
            f"{PERCENT_ENCODE}"
        ) from None


def _common() -> dict[str, Any]:
    return {
        "socket_timeout": SOCKET_TIMEOUT,
        "socket_connect_timeout": SOCKET_TIMEOUT,
        "retry": Retry(NoBackoff(), 0),
        "health_check_interval": 0,
    }


def _tls(tls: bool, options: dict[str, str]) -> dict[str, Any]:
    if not tls:
        return {}
    known = ("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", "ssl_cert_reqs")
    return {"ssl": True, **{k: options[k] for k in known if k in options}}


def _parts(url: str, default_port: int) -> tuple[list[tuple[str, int]], list[str], dict[str, Any]]:
    """Hosts, path segments and credentials of a URL that may name several hosts."""
    split = urlsplit(url)
    userinfo, _, hosts = split.netloc.rpartition("@")
    user, _, password = userinfo.partition(":")
    found = []
    for item in hosts.split(","):
        one = urlsplit(f"//{item}")
        if not one.hostname:
            raise ValueError("no host")
        found.append((one.hostname, one.port or default_port))
    login = {"username": unquote(user) or None, "password": unquote(password) or None}
    return found, [p for p in split.path.split("/") if p], login


def _cluster(url: str, *, tls: bool) -> tuple[Client, list[Any]]:
    hosts, _, login = _parts(url, 6379)
    options = dict(parse_qsl(urlsplit(url).query))
    client = RedisCluster(
        startup_nodes=[ClusterNode(host, port) for host, port in hosts],
        **login,
        **_tls(tls, options),
        **_common(),
    )
    return client, [client]


def _sentinel(url: str, *, tls: bool) -> tuple[Client, list[Any]]:
    hosts, path, login = _parts(url, 26379)
    if not path:
        raise ValueError("no service name")
    options = dict(parse_qsl(urlsplit(url).query))
    security = _tls(tls, options)
    guard = {name: options.get(f"sentinel_{name}") for name in ("username", "password")}
    make: Callable[..., Sentinel] = Sentinel  # redis-py leaves its constructor without types
    sentinel = make(hosts, sentinel_kwargs={**guard, **security, **_common()})
    client: Redis = sentinel.master_for(
        path[0],
        db=int(path[1]) if len(path) > 1 else 0,
        **login,
        **security,
        **_common(),
    )
    return client, [client, *sentinel.sentinels]
