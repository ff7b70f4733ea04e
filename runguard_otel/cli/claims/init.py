"""What each registry needs before its first claim, and the least rights it can do with."""

from __future__ import annotations

import json
from urllib.parse import urlsplit

from runguard_otel.claims.redact import unreadable
from runguard_otel.claims.registries.open import not_installed, unknown_scheme
from runguard_otel.claims.registry import ClaimRegistry

__all__ = ["IAM_ACTIONS", "REDIS_ACL", "grants", "prepare", "recipe"]

REDIS_ACL = (
    "ACL SETUSER runguard on >PASSWORD resetchannels ~rg:v1:* "
    "+eval +evalsha +script|load +script|exists +hmget +hset +hincrby +pexpire +time +ping +hello "
    "+auth +select +client|setname +wait"
)
"""Enough for workers and jobs. ``claims list`` needs ``+scan`` too."""

IAM_ACTIONS = ("dynamodb:UpdateItem", "dynamodb:GetItem")
"""Enough for workers and jobs. ``claims list`` needs ``dynamodb:Scan`` too."""


def grants(role: str) -> list[str]:
    """The least rights of a PostgreSQL role that claims; the tables are made by their owner."""
    from runguard_otel.claims.registries.postgres.table import ADVISORY, LEASES

    tables = (LEASES, ADVISORY)
    return [f"GRANT SELECT, INSERT, UPDATE, DELETE ON {table} TO {role}" for table in tables]


def recipe(url: str) -> str:
    """What ``claims init`` would do, as text for whoever may do it.

    Raises:
        SettingsError: For an unknown scheme, or a registry whose extra is not installed.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # its text may quote the password
        raise unreadable(url) from None
    scheme = parts.scheme.partition("+")[0]
    if scheme == "sqlite" or not url:
        return "SQLite needs no preparation: the file is made at the first claim"
    if scheme == "memory":
        return "memory:// needs no preparation"
    if scheme in ("redis", "rediss", "unix"):
        return REDIS_ACL
    if scheme in ("postgresql", "postgres"):
        from runguard_otel.claims.registries.postgres.table import ADVISORY, LEASES, SCHEMA

        made = [
            statement.strip().format(table=table)
            for table in (LEASES, ADVISORY)
            for statement in SCHEMA
        ]
        return "".join(f"{statement};\n" for statement in [*made, *grants("ROLE")])
    if scheme == "dynamodb":
        try:
            from runguard_otel.claims.registries.dynamodb.registry import DynamoRegistry
            from runguard_otel.claims.registries.dynamodb.table import TABLE_DEFINITION
        except ImportError as error:
            raise not_installed(scheme, "dynamodb", error) from error

        table = DynamoRegistry(url).table  # it refuses what may be a password
        policy = {
            "Version": "2012-10-17",
            "Statement": [
                {
                    "Effect": "Allow",
                    "Action": list(IAM_ACTIONS),
                    "Resource": f"arn:aws:dynamodb:*:*:table/{table}",
                }
            ],
        }
        definition = {"TableName": table, **TABLE_DEFINITION}
        return json.dumps({"table": definition, "policy": policy}, indent=2)
    raise unknown_scheme(url)


async def prepare(registry: ClaimRegistry) -> str:
    """Make it, and say what was made."""
    create = getattr(registry, "create_table", None)
    if create is not None:
        made = await create()
        return "table created" if made else "the table exists already"
    await registry.open()
    return f"{registry.backend}: ready"
