"""No password survives in what we show."""

from __future__ import annotations

import pytest

from runguard_otel.claims.redact import redact_url, scrub

pytestmark = pytest.mark.unit

SECRET = "s3cr3t/with?odd@signs"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        (f"redis://:{SECRET}@db:6379/0", "redis://:***@db:6379/0"),
        (f"rediss://app:{SECRET}@db/0", "rediss://app:***@db/0"),
        (f"redis://{SECRET}@db/0", "redis://***@db/0"),
        (f"redis+sentinel://u:{SECRET}@a:1,b:2/main/0", "redis+sentinel://u:***@a:1,b:2/main/0"),
        (f"postgresql://u:{SECRET}@h/d?sslmode=require", "postgresql://u:***@h/d?sslmode=require"),
        (f"postgresql://h/d?user=u&password={SECRET}", "postgresql://h/d?user=u&password=***"),
        (f"host=h user=u password='{SECRET}' port=1", "host=h user=u password=*** port=1"),
        (f"redis://db?sentinel_password={SECRET}&db=1", "redis://db?sentinel_password=***&db=1"),
        ("dynamodb://claims?region=eu-west-1", "dynamodb://claims?region=eu-west-1"),
        ("redis://db:6379/0", "redis://db:6379/0"),
        ("", ""),
        ("redis://u:s3cr3t and\nmore@h", "redis://u:***@h"),
        ("redis:/:s3cr3t", "redis:***"),
        ("redis:/:s3cr3t@h/?x=http://y", "***@h/?x=http://y"),
    ],
)
def test_a_url_is_shown_without_its_password(url: str, shown: str) -> None:
    assert redact_url(url) == shown
    assert "s3cr3t" not in redact_url(url)


def test_the_password_is_removed_from_a_drivers_message_in_both_spellings() -> None:
    url = "postgresql://app:p%40ss%2Fword@h/d"
    text = f"could not parse {url}; auth failed with p@ss/word and again p%40ss%2Fword"
    assert "ss/word" not in scrub(text, url)
    assert "ss%2Fword" not in scrub(text, url)
    assert "app" in scrub(text, url)


def test_a_message_without_secrets_stays_as_it_is() -> None:
    text = "Error 111 connecting to 127.0.0.1:6379. Connection refused."
    assert scrub(text, "redis://:longsecret@127.0.0.1:6379") == text


def test_a_slip_of_the_pen_hides_each_part_of_a_password_with_colons() -> None:
    url = "redis:user:a:b@h"
    assert "a:b" not in scrub(f"cannot reach {url}, user:a:b is wrong", url)
