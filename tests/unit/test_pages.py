"""A page is whole, frames what it is given, and is written whole or not at all."""

from __future__ import annotations

import os
from html.parser import HTMLParser
from pathlib import Path

import pytest

from runguard_otel import pages

pytestmark = pytest.mark.unit


class _Order(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.tags: list[str] = []

    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.tags.append(tag)


def test_the_frame_holds_the_style_in_the_head_and_the_rest_in_the_body() -> None:
    page = pages.framed("a < b", "<style>\np { margin: 0 }\n</style>\n<main><p>words</p></main>\n")
    order = _Order()
    order.feed(page)
    assert order.tags == ["html", "head", *["meta"] * 3, "title", "style", "body", "main", "p"]
    assert "<title>a &lt; b</title>" in page
    head, _, body = page.partition("<body>")
    assert "p { margin: 0 }" in head and "prefers-color-scheme: dark" in head
    assert "words" in body


@pytest.mark.parametrize("package", ["demo.report", "cost", "preview", "journal"])
def test_every_page_is_a_fragment_for_the_frame(package: str) -> None:
    text = pages.fragment(f"runguard_otel.{package}")
    assert text.startswith("<style>")
    assert text.count("</style>") == 1
    assert not [tag for tag in ("<html", "<head>", "<body") if tag in text]


def test_a_page_that_cannot_be_finished_leaves_the_old_one_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "new" / "report.html"
    pages.write(path, "first")
    assert path.read_text() == "first"
    assert path.stat().st_mode & 0o777 == 0o644 & ~pages._umask()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device", "somewhere else")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space left") as caught:
        pages.write(path, "second")
    assert caught.value.filename == str(path)
    assert path.read_text() == "first"
    assert [p.name for p in path.parent.iterdir()] == ["report.html"]
