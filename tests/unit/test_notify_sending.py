"""A request ends in time whatever the other side does."""

from __future__ import annotations

import time

import pytest

from runguard_otel.notify.sending import NotSent, send
from tests.kit.ports import free_port
from tests.kit.receivers import Answer, answers, dripping, receiving, silent

pytestmark = pytest.mark.unit

HEADERS = {"Content-Type": "application/json", "Authorization": "Bearer t0ken"}


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "127.0.0.1")


@pytest.mark.parametrize("status", ["200 OK", "202 Accepted", "204 No Content"])
def test_what_is_taken_arrives_whole(status: str) -> None:
    with receiving(answers(status)) as receiver:
        send(f"http://{receiver.host}/hook?a=b", b'{"x": 1}', HEADERS)
        (request,) = receiver.requests
    head, _, body = request.partition(b"\r\n\r\n")
    assert head.startswith(b"POST /hook?a=b HTTP/1.1\r\n")
    assert b"Authorization: Bearer t0ken" in head
    assert body == b'{"x": 1}'


@pytest.mark.parametrize(
    ("answer", "says", "again"),
    [
        (answers("400 Bad Request"), "its answer was 400", False),
        (answers("401 Unauthorized"), "its answer was 401", False),
        (answers("429 Too Many Requests"), "its answer was 429", True),
        (answers("500 Internal Server Error"), "its answer was 500", True),
        (lambda *_: None, "RemoteDisconnected", True),
        (lambda connection, _: connection.sendall(b"\0" * 100_000), "LineTooLong", True),
        (silent, "does not answer in time", True),
        (dripping, "does not answer in time", True),
    ],
)
def test_what_is_not_taken_is_said_in_time(answer: Answer, says: str, again: bool) -> None:
    """Mutant: without the cut the dripping server holds the thread for ever."""
    began = time.monotonic()
    with receiving(answer) as receiver, pytest.raises(NotSent, match=says) as error:
        send(f"http://{receiver.host}/secretpath", b"{}", HEADERS, seconds=0.3)
    assert error.value.again is again
    assert "secretpath" not in str(error.value)
    assert time.monotonic() - began < 3


def test_nobody_is_there() -> None:
    with pytest.raises(NotSent, match="refused") as error:
        send(f"http://127.0.0.1:{free_port()}/", b"{}", HEADERS)
    assert error.value.again


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status: int) -> None:
    """Mutant: urllib's own handler would take the bearer token along."""
    with receiving(answers("200 OK")) as elsewhere:
        away = answers(f"{status} Moved", f"Location: http://{elsewhere.host}/")
        with receiving(away) as receiver, pytest.raises(NotSent, match="not followed") as error:
            send(f"http://{receiver.host}/", b"{}", HEADERS)
        assert not error.value.again
        assert elsewhere.requests == []
