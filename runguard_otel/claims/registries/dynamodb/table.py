"""One DynamoDB table through aiobotocore: connect, update on a condition, read, scan."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from typing import Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError

from runguard_otel.claims.redact import scrub
from runguard_otel.claims.registry import RegistryUnavailable

__all__ = ["TABLE_DEFINITION", "Item", "Table"]

TIMEOUT = 1.0
"""Seconds to connect, and to wait for a reply."""

CONNECTIONS = 8

Item = dict[str, dict[str, str]]

TABLE_DEFINITION: dict[str, Any] = {
    "AttributeDefinitions": [{"AttributeName": "k", "AttributeType": "S"}],
    "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}],
    "BillingMode": "PAY_PER_REQUEST",
}
# botocore checks what it is given, such as an endpoint, with bare ValueErrors.
_ERRORS = (
    BotoCoreError,
    HTTPClientError,
    ClientError,
    OSError,
    ValueError,
    asyncio.TimeoutError,
)


class Table:
    """A table with the string key ``k``. Raises ``RegistryUnavailable`` and nothing else.

    Args:
        name: Its name.
        region: AWS region; by default from the AWS environment.
        endpoint: URL of a compatible server instead of AWS.
    """

    def __init__(self, name: str, *, region: str | None, endpoint: str | None) -> None:
        self._name = name
        self._region = region
        self._endpoint = endpoint
        self._client: Any = None
        self._stack = AsyncExitStack()
        self._opening = asyncio.Lock()
        self.turns = asyncio.Semaphore(CONNECTIONS)

    @contextmanager
    def _asking(self) -> Iterator[None]:
        try:
            yield
        except _ERRORS as error:
            text = scrub(str(error), self._endpoint or "")
            raise RegistryUnavailable(f"DynamoDB: {type(error).__name__}: {text}") from None

    async def _connected(self) -> Any:
        async with self._opening:
            if self._client is None:
                with self._asking():
                    self._client = await self._stack.enter_async_context(
                        get_session().create_client(
                            "dynamodb",
                            region_name=self._region,
                            endpoint_url=self._endpoint,
                            config=AioConfig(
                                connect_timeout=TIMEOUT,
                                read_timeout=TIMEOUT,
                                retries={"total_max_attempts": 2, "mode": "standard"},
                                max_pool_connections=CONNECTIONS,
                            ),
                        )
                    )
            return self._client

    async def create(self) -> bool:
        """Make the table, billed per request, with garbage collection of old items.

        Returns:
            Whether it did not exist before.
        """
        client = await self._connected()
        with self._asking():
            try:
                await client.create_table(TableName=self._name, **TABLE_DEFINITION)
            except client.exceptions.ResourceInUseException:
                return False
            await client.get_waiter("table_exists").wait(
                TableName=self._name, WaiterConfig={"Delay": 1, "MaxAttempts": 60}
            )
            ttl = {"Enabled": True, "AttributeName": "expires"}
            try:
                await client.update_time_to_live(TableName=self._name, TimeToLiveSpecification=ttl)
            except ClientError as error:  # some compatible servers have no TTL; it is garbage only
                if _code(error) not in ("UnknownOperationException", "UnrecognizedClientException"):
                    raise
            return True

    async def update(
        self, key: str, update: str, condition: str, values: dict[str, str | int]
    ) -> tuple[bool, Item]:
        """One conditional update.

        Returns:
            Whether the condition held, and the item as it was before (empty if there was none).
        """
        client = await self._connected()
        # A value that an expression does not name is an error to DynamoDB.
        used = {n: v for n, v in values.items() if n in _words(update + " " + condition)}
        with self._asking():
            try:
                reply = await client.update_item(
                    TableName=self._name,
                    Key=_key(key),
                    UpdateExpression=update,
                    ConditionExpression=condition,
                    ExpressionAttributeValues={n: _typed(v) for n, v in used.items()},
                    ReturnValues="ALL_OLD",
                    ReturnValuesOnConditionCheckFailure="ALL_OLD",
                )
                return True, reply.get("Attributes", {})
            except client.exceptions.ConditionalCheckFailedException as error:
                item = error.response.get("Item")
                if item is None:  # not there, or a server that does not send it along
                    reply = await client.get_item(
                        TableName=self._name, Key=_key(key), ConsistentRead=True
                    )
                    item = reply.get("Item", {})
                return False, item

    async def read(self, key: str) -> Item:
        """The item as of now; empty if there is none."""
        client = await self._connected()
        with self._asking():
            reply = await client.get_item(TableName=self._name, Key=_key(key), ConsistentRead=True)
            item: Item = reply.get("Item", {})
            return item

    async def scan(self) -> list[Item]:
        """All items."""
        client = await self._connected()
        found: list[Item] = []
        with self._asking():
            async for page in client.get_paginator("scan").paginate(TableName=self._name):
                found += page["Items"]
        return found

    async def close(self) -> None:
        """Close the client; safe to call twice."""
        self._client = None
        await self._stack.aclose()


def _words(expression: str) -> set[str]:
    return set(expression.replace("(", " ").replace(")", " ").replace(",", " ").split())


def _key(key: str) -> Item:
    return {"k": {"S": key}}


def _typed(value: str | int) -> dict[str, str]:
    return {"N": str(value)} if isinstance(value, int) else {"S": value}


def _code(error: ClientError) -> str:
    return str(error.response.get("Error", {}).get("Code", ""))
