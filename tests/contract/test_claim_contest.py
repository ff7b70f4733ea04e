"""Of all that want a room, exactly one gets it. ``make soak`` runs this with the full numbers."""

from __future__ import annotations

import pytest

from tests.kit.contenders import Contenders
from tests.kit.process import Server
from tests.kit.servers import postgres_url

pytestmark = pytest.mark.contract


@pytest.fixture(params=["redis", "valkey", "psycopg", "asyncpg", "pgbouncer", "dynalite"])
def contest(request: pytest.FixtureRequest) -> tuple[str, int, int]:
    """URL, contenders, rooms: scaled to what the backend does in a second or two."""
    name = request.param
    fixture = dict.fromkeys(("psycopg", "asyncpg"), "postgres_server") | {"pgbouncer": "pgbouncer"}
    server: Server = request.getfixturevalue(fixture.get(name, f"{name}_server"))
    if name in ("redis", "valkey"):
        return f"redis://127.0.0.1:{server.port}", 200, 500
    if name == "dynalite":
        return f"dynamodb://contest?region=us-east-1&endpoint={server.url}&create=true", 60, 60
    options = f"?driver={name}" if name != "pgbouncer" else ""
    return postgres_url(server.port, options=options), 60, 200


async def test_one_room_has_one_winner_and_every_room_exactly_one(
    contest: tuple[str, int, int],
) -> None:
    url, contenders, rooms = contest
    async with Contenders(url, 3) as processes:
        for _ in range(2):
            winners, _ = await processes.rush(contenders)
            assert winners == 1
        grants, distinct, _ = await processes.sweep(rooms)
        assert (grants, distinct) == (rooms, rooms)
