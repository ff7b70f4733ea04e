from __future__ import annotations

import threading

import pytest

from runguard_otel.core.keyed import BoundedMap

pytestmark = pytest.mark.unit


def test_the_least_recently_used_key_is_forgotten_first_and_counted() -> None:
    built: list[str] = []

    def build(key: str) -> list[str]:
        built.append(key)
        return [key]

    bounded = BoundedMap(build, max_keys=2)
    first = bounded.get("a")
    bounded.get("b")
    assert bounded.get("a") is first
    bounded.get("c")
    assert bounded.peek("b") is None
    assert bounded.peek("a") is first
    assert (len(bounded), bounded.evicted, built) == (2, 1, ["a", "b", "c"])


def test_threads_agree_on_one_value_per_key() -> None:
    bounded: BoundedMap[int, object] = BoundedMap(lambda _: object(), max_keys=100)
    seen: list[set[int]] = [set() for _ in range(50)]

    def work() -> None:
        for key in range(50):
            seen[key].add(id(bounded.get(key)))

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(len(ids) == 1 for ids in seen)


def test_no_room_for_no_keys() -> None:
    with pytest.raises(ValueError, match="max_keys"):
        BoundedMap(lambda _: 0, max_keys=0)
