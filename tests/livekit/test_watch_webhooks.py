"""Webhooks that LiveKit signed are heard; whatever else comes is refused, counted and cheap."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import datetime
import gzip
import hashlib
import json
import logging
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import jwt
import pytest
from google.protobuf.json_format import Parse
from livekit import api
from livekit.protocol.webhook import WebhookEvent

from runguard_otel.core.guards.presence import Role
from runguard_otel.watch import listener
from runguard_otel.watch import seen as words
from runguard_otel.watch.listener import MOST_BYTES, MOST_CONNECTIONS
from runguard_otel.watch.seen import Seen, seen
from runguard_otel.watch.server import Credentials
from runguard_otel.watch.webhooks import Refused, Verifier, WebhookServer

pytestmark = pytest.mark.livekit

KEY, SECRET = "devkey", "a secret that is long enough for HS256"
RECORDED = (Path(__file__).parents[1] / "kit" / "webhooks.jsonl").read_text().splitlines()
JOINED = next(line for line in RECORDED if "participant_joined" in line)


def signed(body: str, secret: str = SECRET, key: str = KEY, seconds: int = 3600) -> str:
    """As the LiveKit server signs a webhook, but for longer.

    Some are signed when this file is imported, and a whole suite may run before they are sent.
    """
    digest = base64.b64encode(hashlib.sha256(body.encode()).digest()).decode()
    token = api.AccessToken(key, secret).with_sha256(digest)
    return token.with_ttl(datetime.timedelta(seconds=seconds)).to_jwt()


class Heard:
    """A server, what it heard and what it counted."""

    def __init__(self) -> None:
        self.events: list[Seen] = []
        self.counts: Counter[str] = Counter()
        self.lost = 0
        self.status: dict[str, Any] = {"ready": True}
        self.server = WebhookServer(
            Verifier(Credentials("http://127.0.0.1:1", KEY, SECRET)),
            self.events.append,
            lambda what: self.counts.update([what]),
            lambda: self.status,
            self._lose,
        )

    def _lose(self, number: int) -> None:
        self.lost += number

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}/webhook"


@pytest.fixture
async def heard() -> AsyncIterator[Heard]:
    made = Heard()
    await made.server.start("127.0.0.1", 0)
    yield made
    await made.server.stop()


async def post(heard: Heard, body: str, token: str) -> int:
    async with (
        aiohttp.ClientSession() as client,
        client.post(heard.url, data=body, headers={"Authorization": token}) as answer,
    ):
        return answer.status


@pytest.mark.parametrize("body", RECORDED)
def test_a_webhook_is_read_as_livekits_own_receiver_reads_it(body: str) -> None:
    """Fails if a field is called or written otherwise than protobuf does."""
    receiver = api.WebhookReceiver(api.TokenVerifier(KEY, SECRET))
    event = receiver.receive(body, signed(body))
    ours = Verifier(Credentials("", KEY, SECRET)).read(body.encode(), signed(body))
    assert event == Parse(body, WebhookEvent(), ignore_unknown_fields=True)
    assert ours is not None
    assert (ours.kind, ours.room, ours.room_sid, ours.id) == (
        event.event, event.room.name, event.room.sid, event.id,
    )  # fmt: skip
    assert ours.created == words.opened(event.room)
    if event.HasField("participant"):
        assert ours.member == words.member(event.participant)
    else:
        assert ours.member is None
    if event.event == "track_published":
        assert (ours.track, ours.at) == (event.track.sid, event.track.version.unix_micro / 1e6)


@pytest.mark.parametrize(
    ("participant", "role", "name"),
    [
        ({}, Role.CALLER, None),
        ({"kind": "SIP"}, Role.CALLER, None),
        ({"kind": 3}, Role.CALLER, None),
        ({"kind": "AGENT"}, Role.AGENT, None),
        ({"kind": 4, "attributes": {"lk.agent.name": ""}}, Role.AGENT, ""),
        ({"kind": "AGENT", "attributes": {"lk.publish_on_behalf": "x"}}, Role.OTHER, None),
        ({"kind": "EGRESS"}, Role.OTHER, None),
        ({"permission": {"recorder": True}}, Role.OTHER, None),
        ({"kind": "NEWER"}, Role.CALLER, None),
    ],
)
def test_who_is_what(participant: dict[str, Any], role: Role, name: str | None) -> None:
    data = {"sid": "PA_1", "identity": "x", "joinedAtMs": "1795917384857", **participant}
    event = seen(json.dumps({"event": "participant_joined", "room": {"sid": "RM"},
                             "participant": data}))  # fmt: skip
    assert event is not None and event.member is not None
    assert (event.member.role, event.member.agent) == (role, name)
    assert event.member.joined == 1795917384.857


async def test_an_event_is_heard_once_and_its_repetition_is_counted(heard: Heard) -> None:
    dropped = json.dumps({**json.loads(JOINED), "id": "EV_x", "numDropped": 3})
    for body in (JOINED, JOINED, dropped):
        assert await post(heard, body, signed(body)) == 200
    assert heard.counts == {"accepted": 2, "repeated": 1}
    assert heard.lost == 3
    assert heard.events[0].kind == "participant_joined"


def forged() -> dict[str, tuple[str, str]]:
    """A body and what it is said to be signed with, by name."""
    unhashed = api.AccessToken(KEY, SECRET)
    none = base64.b64encode(b'{"alg":"none"}').decode().rstrip("=")
    return {
        "no signature": (JOINED, ""),
        "no token": (JOINED, "Bearer x.y.z"),
        "another secret": (JOINED, signed(JOINED, "another secret, and long enough, too")),
        "another key": (JOINED, signed(JOINED, key="other")),
        "another body": (JOINED.replace("caller", "mallory"), signed(JOINED)),
        "no hash": (JOINED, unhashed.to_jwt()),
        "a hash that is none": (JOINED, unhashed.with_sha256("é").to_jwt()),
        "no algorithm": (JOINED, f"{none}.e30."),
    }


NONSENSE = [
    "", "[]", "{}", "x", '{"event":1}', "[" * 50_000, '{"event":"x","room":1}',
    '{"event":"x","room":{"sid":"a"},"createdAt":"nan"}',
    '{"event":"x","room":{"sid":"a"},"participant":{"sid":"b","joinedAt":{}}}',
]  # fmt: skip
REFUSED = {
    **{name: (*pair, "forged", 401) for name, pair in forged().items()},
    "an old one": (JOINED, signed(JOINED, seconds=-3600), "stale", 401),
    **{f"nonsense {n}": (b, signed(b), "malformed", 400) for n, b in enumerate(NONSENSE)},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_what_the_server_did_not_sign_is_refused_and_counted(
    heard: Heard, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    body, token, what, status = REFUSED[name]
    assert await post(heard, body, token) == status
    assert heard.counts == {what: 1}
    assert heard.events == []
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == [], "no traceback"


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_refused_is_refused_after_a_good_one_too(name: str) -> None:
    """Fails if the short way believes what LiveKit's verifier does not."""
    body, token, what, _ = REFUSED[name]
    verifier = Verifier(Credentials("", KEY, SECRET))
    assert verifier.read(JOINED.encode(), signed(JOINED)) is not None
    with pytest.raises(Refused, match=what):
        verifier.read(body.encode(), token)


def claimed(**changes: Any) -> str:
    """A token as livekit-server 1.13.5 makes it, with changes; ``None`` takes a claim away."""
    now = int(time.time())
    digest = base64.b64encode(hashlib.sha256(JOINED.encode()).digest()).decode()
    claims = {"iss": KEY, "nbf": now, "iat": now, "exp": now + 300, "sha256": digest, **changes}
    return jwt.encode({k: v for k, v in claims.items() if v is not None}, SECRET)


@pytest.mark.parametrize(
    ("changes", "short"),
    [
        ({}, True),
        ({"sub": ""}, True),
        ({"iat": None}, True),
        ({"iat": "now"}, False),
        ({"iat": int(time.time()) + 3600}, False),
        ({"sub": 1}, False),
        ({"aud": "x"}, False),
        ({"video": {}}, False),
        ({"nbf": None}, False),
        ({"exp": None}, False),
        ({"exp": int(time.time()) - 30}, False),
        ({"exp": int(time.time()) - 300}, False),
        ({"exp": "soon"}, False),
        ({"nbf": int(time.time()) + 3600}, False),
        ({"iss": "other"}, False),
        ({"iss": None}, False),
        ({"sha256": None}, False),
        ({"sha256": "AAAA"}, True),
        ({"sha256": ["x"]}, False),
    ],
)
def test_the_short_way_says_what_livekits_verifier_says(
    changes: dict[str, Any], short: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []
    theirs = api.TokenVerifier.verify

    def verify(self: api.TokenVerifier, token: str) -> Any:
        asked.append(token)
        return theirs(self, token)

    monkeypatch.setattr(api.TokenVerifier, "verify", verify)
    token = claimed(**changes)

    def verdict(verifier: Verifier) -> object:
        try:
            return verifier.read(JOINED.encode(), token)
        except Refused as refused:
            return refused.args

    first = verdict(Verifier(Credentials("", KEY, SECRET)))
    used = Verifier(Credentials("", KEY, SECRET))
    used.read(JOINED.encode(), claimed())
    asked.clear()
    assert verdict(used) == first
    assert (asked == []) is short


async def test_ten_megabytes_are_not_read(heard: Heard) -> None:
    body = "x" * 10_000_000
    with contextlib.suppress(aiohttp.ClientError, ConnectionError):
        assert await post(heard, body, signed("x")) == 413

    async def parts() -> AsyncIterator[bytes]:  # no Content-Length says how much there is
        while True:
            yield b"x" * MOST_BYTES

    async with aiohttp.ClientSession() as client:
        with contextlib.suppress(aiohttp.ClientError, ConnectionError):
            async with client.post(heard.url, data=parts()) as answer:
                assert answer.status == 413
    assert heard.counts == {"oversized": 2}
    assert await post(heard, JOINED, signed(JOINED)) == 200


async def test_a_thousand_idle_connections_do_not_keep_the_server_out(
    heard: Heard, caplog: pytest.LogCaptureFixture
) -> None:
    """Fails if their number has no bound, or if those who say nothing may stay."""
    port, idle = heard.server.port, []
    for _ in range(1000):
        with contextlib.suppress(OSError):
            idle.append((await asyncio.open_connection("127.0.0.1", port))[1])
    while heard.counts["busy"] < 1000:
        await asyncio.sleep(0.05)
    assert await post(heard, JOINED, signed(JOINED)) == 200
    assert heard.counts == {"busy": 1000, "accepted": 1}
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []
    assert len(idle) > MOST_CONNECTIONS
    for writer in idle:
        writer.close()


async def spoken(heard: Heard, *parts: bytes) -> bytes:
    """What is answered to these bytes, until the server hangs up."""
    reader, writer = await asyncio.open_connection("127.0.0.1", heard.server.port)
    for part in parts:
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    answer = await reader.read()
    writer.close()
    return answer


def head(token: str, *more: str) -> bytes:
    lines = ("POST /webhook HTTP/1.1", "Host: x", f"Authorization: {token}", *more, "", "")
    return "\r\n".join(lines).encode()


async def test_a_webhook_may_come_in_chunks_and_byte_by_byte(heard: Heard) -> None:
    token, body = signed(JOINED), JOINED.encode()

    async def parts() -> AsyncIterator[bytes]:
        for at in range(0, len(body), 100):
            yield body[at : at + 100]

    async with aiohttp.ClientSession() as client:
        headers = {"Authorization": token, "Expect": "100-continue"}
        async with client.post(heard.url, data=parts(), headers=headers) as answer:
            assert answer.status == 200
    whole = head(token, "Connection: close", f"Content-Length: {len(body)}") + body
    answered = await spoken(heard, *(whole[n : n + 1] for n in range(len(whole))))
    assert answered.startswith(b"HTTP/1.1 200 OK\r\n")
    assert heard.counts == {"accepted": 1, "repeated": 1}
    assert heard.events[0] == heard.events[1]


async def test_nothing_is_unpacked(heard: Heard) -> None:
    """The signature is of what is sent: a small body cannot become a large one."""
    packed = gzip.compress(b"x" * 10_000_000)
    async with aiohttp.ClientSession() as client:
        headers = {"Authorization": signed(JOINED), "Content-Encoding": "gzip"}
        for body in (packed, gzip.compress(JOINED.encode())):
            async with client.post(heard.url, data=body, headers=headers) as answer:
                assert answer.status == 401
    assert heard.counts == {"forged": 2}


GOOD = head(signed(JOINED), f"Content-Length: {len(JOINED.encode())}") + JOINED.encode()
NO_HTTP = {
    "TLS": (b"\x16\x03\x01\x02\x00", "malformed", b"400"),
    "two lengths": (head("", "Content-Length: 1", "Content-Length: 2"), "malformed", b"400"),
    "a length and chunks": (
        head("", "Transfer-Encoding: chunked", "Content-Length: 1"), "malformed", b"400",
    ),
    "no such length": (head("", "Content-Length: " + "9" * 5000), "malformed", b"400"),
    "a head without end": (b"POST / HTTP/1.1\r\nA: " + b"x" * 1_000_000, "oversized", b"413"),
    "pipelined without end": (b"GET /x HTTP/1.1\r\nHost: x\r\n\r\n" * 500, "busy", b"408"),
}  # fmt: skip


@pytest.mark.parametrize("name", NO_HTTP)
async def test_what_is_no_http_is_refused_and_counted(
    heard: Heard, name: str, caplog: pytest.LogCaptureFixture
) -> None:
    sent, what, status = NO_HTTP[name]
    with contextlib.suppress(ConnectionError):  # hung up on while it still speaks
        assert status in await spoken(heard, sent)
    assert heard.counts == {what: 1}
    assert await spoken(heard, GOOD.replace(b"Host: x", b"Host: x\r\nConnection: close"))
    assert heard.counts == {what: 1, "accepted": 1}
    assert [r for r in caplog.records if r.levelno >= logging.WARNING] == []


@pytest.mark.parametrize("sent", [b"", b"POST / HT", GOOD[:-1], GOOD + GOOD[:9]])
async def test_who_takes_too_long_is_hung_up_on(
    heard: Heard, sent: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Fails if a request that was answered gives the next one of the connection more time."""
    reader, writer = await asyncio.open_connection("127.0.0.1", heard.server.port)
    writer.write(sent)
    if sent.startswith(GOOD):
        assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    monkeypatch.setattr(listener, "SECONDS", 0.2)
    assert await ended(reader) == b""
    assert heard.counts["busy"] == 1
    writer.close()


async def test_a_connection_that_is_done_may_stay_idle_for_long_but_not_for_ever(
    heard: Heard, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", heard.server.port)
    writer.write(GOOD)
    assert b"200 OK" in await reader.readuntil(b"\r\n\r\n")
    monkeypatch.setattr(listener, "IDLE_SECONDS", 0.2)
    assert await ended(reader) == b""
    assert heard.counts == {"accepted": 1}, "not counted: it did nothing wrong"
    writer.close()


async def ended(reader: asyncio.StreamReader) -> bytes:
    """What comes until the server hangs up, however hard."""
    with contextlib.suppress(ConnectionError):
        return await reader.read()
    return b""


async def test_a_fault_of_ours_is_said_and_the_server_may_try_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    def fault(event: Seen) -> None:
        raise RuntimeError("ours")

    verifier = Verifier(Credentials("", KEY, SECRET))
    server = WebhookServer(verifier, fault, lambda what: None, dict)
    await server.start("127.0.0.1", 0)
    async with aiohttp.ClientSession() as client:
        url, headers = f"http://127.0.0.1:{server.port}", {"Authorization": signed(JOINED)}
        for _ in range(2):
            async with client.post(url, data=JOINED, headers=headers) as answer:
                assert answer.status == 500
    await server.stop()
    assert [r.levelname for r in caplog.records if r.name == "runguard_otel.watch"] == ["ERROR"] * 2


async def test_several_requests_of_one_read_are_answered_in_turn(heard: Heard) -> None:
    last = head("", "Connection: close", "Content-Length: 0")
    answered = await spoken(heard, GOOD + b"GET /healthz?x HTTP/1.1\r\n\r\n" + GOOD + last)
    assert answered.count(b"HTTP/1.1 200 OK") == 3
    assert answered.rstrip().endswith(b"Connection: close")
    assert heard.counts == {"accepted": 1, "repeated": 1, "forged": 1}


async def test_health_and_a_standby(heard: Heard) -> None:
    async with aiohttp.ClientSession() as client:

        async def get(path: str) -> int:
            async with client.get(f"http://127.0.0.1:{heard.server.port}{path}") as answer:
                return answer.status

        heard.status = {"ready": True, "active": True}
        assert [await get(p) for p in ("/healthz", "/readyz", "/else")] == [200, 200, 404]
        assert await get("/active") == 200
        heard.status = {"ready": False, "active": False}
        assert [await get(p) for p in ("/healthz", "/readyz", "/active")] == [200, 503, 503]
    assert await post(heard, JOINED, signed(JOINED)) == 200
    assert len(heard.events) == 1, "one that stands by hears all the same"


def test_a_verifier_says_why() -> None:
    with pytest.raises(Refused, match="forged"):
        Verifier(Credentials("", KEY, SECRET)).read(b"{}", "")
