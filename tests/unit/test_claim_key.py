"""The claim key: same room same key, anything else another one, and no name in it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runguard_otel.claims.key import claim_key, normal_host
from runguard_otel.core.ports import JobFacts

pytestmark = pytest.mark.unit

JOB = JobFacts("wss://my.livekit.cloud", "+15551234567", "support", "JT_ROOM", "", "AJ_1")


def test_the_key_is_a_hash_with_a_cluster_tag_and_holds_no_name() -> None:
    key = claim_key(JOB)
    assert key.startswith("rg:v1:{") and key.endswith("}")
    assert len(key) == len("rg:v1:{}") + 32
    assert "5551234567" not in key


def test_the_key_does_not_change_between_releases() -> None:
    """Workers of two releases serve one deployment during a rollout."""
    assert claim_key(JOB) == "rg:v1:{b4ca3e6ed2a84a8b04c962c72d4660c4}"
    opened = replace(JOB, room_sid="RM_x7Kq-_9")
    assert claim_key(opened) == "rg:v1:{b4ca3e6ed2a84a8b04c962c72d4660c4}:RM_x7Kq-_9"


def test_a_sid_cannot_forge_a_key() -> None:
    assert claim_key(replace(JOB, room_sid="{a}:*\n b")) == claim_key(JOB) + ":ab"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("host", "wss://other.livekit.cloud"),
        ("room", "+15551234568"),
        ("agent_name", "translator"),
        ("job_type", "JT_PUBLISHER"),
        ("namespace", "staging"),
    ],
)
def test_every_part_makes_another_key(field: str, value: str) -> None:
    assert claim_key(replace(JOB, **{field: value})) != claim_key(JOB)


def test_the_job_id_is_not_part_of_it() -> None:
    assert claim_key(replace(JOB, job_id="AJ_2")) == claim_key(JOB)


@pytest.mark.parametrize("job_type", ["JT_PUBLISHER", "JT_PARTICIPANT"])
def test_jobs_per_participant_have_a_claim_per_participant(job_type: str) -> None:
    one = replace(JOB, job_type=job_type, participant="alice")
    assert claim_key(one) != claim_key(replace(one, participant="bob"))


def test_a_room_jobs_participant_does_not_matter() -> None:
    assert claim_key(replace(JOB, participant="alice")) == claim_key(JOB)


@pytest.mark.parametrize(
    "url",
    [
        "wss://my.livekit.cloud",
        "https://my.livekit.cloud",
        "WSS://My.LiveKit.Cloud:443/",
        "wss://user:secret@my.livekit.cloud/path?x=1",
        "wss://my.livekit.cloud.",
    ],
)
def test_spellings_of_one_server_are_one_host(url: str) -> None:
    assert normal_host(url) == "my.livekit.cloud"


def test_a_port_of_its_own_and_a_project_id_are_kept() -> None:
    assert normal_host("ws://localhost:7880") == "localhost:7880"
    assert normal_host("ws://localhost:80") == "localhost"
    assert normal_host(" p_abc123 ") == "p_abc123"
    assert normal_host("ws://host:port") == "host:port"
    assert normal_host(" wss://[ ") == "wss://["


@given(st.text(), st.text(), st.text(), st.text())
def test_moving_letters_between_parts_never_collides(a: str, b: str, c: str, d: str) -> None:
    one = claim_key(replace(JOB, room=a, agent_name=b))
    two = claim_key(replace(JOB, room=c, agent_name=d))
    assert (one == two) == ((a, b) == (c, d))
