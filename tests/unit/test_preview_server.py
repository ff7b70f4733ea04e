"""The preview and servers that are none: one line, bounded time and memory, no password."""

from __future__ import annotations

import base64
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from runguard_otel.cli import commands
from runguard_otel.preview import prometheus
from runguard_otel.preview.prometheus import Prometheus, QueryError

pytestmark = pytest.mark.unit

SECRET = "hunter22"
OK = b"HTTP/1.1 200 OK\r\n\r\n"


@contextmanager
def answering(*parts: bytes, pause: float = 0.0) -> Iterator[tuple[str, list[bytes]]]:
    """A server that says ``parts``, whatever it is asked; its address, and what it was asked."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    client, _ = server.accept()
                except OSError:  # closed: the test is over
                    return
                with client:
                    try:
                        asked.append(client.recv(65536))
                        for part in parts:
                            client.sendall(part)
                            time.sleep(pause)
                    except OSError:  # the client went away, as it should
                        continue

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        try:
            yield f"127.0.0.1:{server.getsockname()[1]}", asked
        finally:
            server.shutdown(socket.SHUT_RDWR)
    thread.join(30)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"\x15\x03\x01\x00\x02\x02\x46",
        b"HTTP/1.1 nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\n{",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * 200 + b"\r\n",
        b"HTTP/1.1 302 Found\r\nLocation: file:///etc/passwd\r\n\r\n",
        b"HTTP/1.1 500 Oops\r\n\r\n[]",
        b"HTTP/1.1 422 No\r\n\r\n" + b"[" * 50_000,
        OK + b"<html>",
        OK + b"null",
        OK + b"[]",
        OK + b"\xff\xfe",
        OK + b'{"data": {"result": {"a": 1}}}',
        OK + b'{"data": {"result": [3]}}',
        OK + b'{"data": {"result": [{"metric": 3, "values": 4, "value": 5}]}}',
        OK + b'{"data": {"result": [{"metric": {}, "values": [[1, "x"]], "value": [1]}]}}',
        OK + b"[" * 100_000,
        OK + b'{"data": ' + b"9" * 5000 + b"}",
    ],
    ids=range(20),
)
def test_whatever_answers_is_one_error(answer: bytes) -> None:
    with answering(answer) as (address, _):
        server = Prometheus(f"http://me:{SECRET}@{address}", timeout=10)
        for ask in (server.instant, lambda expr, at: server.range(expr, at, at + 1, 1)):
            with pytest.raises(QueryError) as caught:
                ask("up", 0.0)
            assert SECRET not in str(caught.value)


def test_an_endless_answer_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prometheus, "MOST_BYTES", 1 << 20)
    with (
        answering(OK, *[b" " * 65536] * 1000) as (address, _),
        pytest.raises(QueryError, match="more than 1 MiB"),
    ):
        Prometheus(f"http://{address}").instant("up", 0)


def test_an_answer_in_drops_ends() -> None:
    """Each drop comes in time, the whole never does."""
    with (
        answering(OK, *[b" "] * 200, pause=0.05) as (address, asked),
        pytest.raises(QueryError, match=r"within 0\.5 s|timed out"),
    ):
        Prometheus(f"http://{address}", timeout=0.5).instant("up", 0)
    assert len(asked) == 1


def test_a_password_is_sent_and_never_shown(tmp_path: Path) -> None:
    empty = b'{"data": {"result": [], "resultType": "vector"}}'
    size = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(empty)
    with answering(size + empty) as (address, asked):
        url = f"http://me:hunter%3222@{address}"
        assert Prometheus(url).instant("up", 0) == []
    sent = base64.b64encode(b"me:hunter222").decode()
    assert f"Authorization: Basic {sent}".encode() in asked[0]
    done = CliRunner().invoke(commands(), ["preview", "--prometheus", "http://me:hunter22@[::1"])
    assert done.exit_code == 2
    assert SECRET not in done.output and done.exception.__class__ is SystemExit


@pytest.mark.parametrize("span", ["²h", "1e9d", "9" * 5000 + "d", "99999999d", "-1h", "h", "٣h"])
def test_an_odd_range_is_named(span: str) -> None:
    done = CliRunner().invoke(commands(), ["preview", "--range", span])
    assert done.exit_code == 2
    assert "such as 30m, 3h or 1d" in done.output
