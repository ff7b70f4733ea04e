"""No link of the documentation leads nowhere; and each page is reached from docs/index.md."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.links import ROOT, broken_in_html, broken_in_markdown, heading_anchors, pages

pytestmark = pytest.mark.unit


def test_every_link_of_every_page_leads_somewhere() -> None:
    found = pages()
    assert len(found) > 30, "the pages are found at all"
    assert [line for page in found for line in broken_in_markdown(page)] == []


def test_every_page_of_the_docs_is_in_the_index() -> None:
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    missing = [p.name for p in (ROOT / "docs").glob("*.md") if f"({p.name}" not in index]
    assert missing == ["index.md"]


@pytest.mark.parametrize(
    ("link", "says"),
    [
        ("[a](gone.md)", "no such file"),
        ("[a](other.md#gone)", "no heading"),
        ("[a](#gone)", "no heading"),
        ("[a](../../outside.md)", "no such file"),
    ],
)
def test_a_broken_link_is_found(link: str, says: str, tmp_path: Path) -> None:
    (tmp_path / "other.md").write_text("# Here it is\n")
    page = tmp_path / "page.md"
    page.write_text(f"# Page\n\n{link}, [b](other.md#here-it-is), [c](https://example.org/x)\n")
    (broken,) = broken_in_markdown(page, tmp_path)
    assert says in broken


def test_code_is_no_link(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# A\n\n`x[a](gone)` and\n\n```python\ny[b](gone)\n```\n")
    assert list(broken_in_markdown(page, tmp_path)) == []


def test_anchors_are_made_as_github_makes_them() -> None:
    text = "# What it does, and why: `now`\n## Twice\n## Twice\n```\n# no heading\n```\n"
    assert heading_anchors(text) == {"what-it-does-and-why-now", "twice", "twice-1"}


def test_a_broken_link_of_the_site_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.html").write_text('<a href="b.html#x">1</a><a href="b.html#y">2</a>')
    (tmp_path / "b.html").write_text('<p id="x"><a href="c.html">3</a></p>')
    broken = list(broken_in_html(tmp_path))
    assert [line.split(": ")[1] for line in broken] == ["b.html#y", "c.html"]
