"""Whether every link of the documentation leads somewhere: files, headings, anchors.

Addresses of other hosts are not asked: a check that fails because somebody's server is down says
nothing about us.
"""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from typing import Final
from urllib.parse import unquote

__all__ = ["broken_in_html", "broken_in_markdown", "heading_anchors", "pages"]

ROOT: Final = Path(__file__).resolve().parents[1]
_FENCE: Final = re.compile(r"^( *)(```|~~~).*?^\1\2\s*$", re.MULTILINE | re.DOTALL)
_CODE: Final = re.compile(r"`[^`\n]*`")
_LINK: Final = re.compile(r"\[[^\]]*\]\(([^()\s]+)(?:\s+\"[^\"]*\")?\)")
_OUTSIDE: Final = re.compile(r"[a-z][a-z0-9+.-]*:", re.IGNORECASE)


def pages(root: Path = ROOT) -> list[Path]:
    """Every Markdown file that git knows, but those of other programs' packages."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard", "*.md"],
        cwd=root, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return [root / name for name in listed.stdout.splitlines()]


def heading_anchors(text: str) -> set[str]:
    """The anchors that GitHub makes of a page's headings."""
    found: dict[str, int] = {}
    anchors = set()
    for line in _FENCE.sub("", text).splitlines():
        heading = re.match(r"#{1,6}\s+(.*?)\s*#*\s*$", line)
        if heading:
            plain = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading[1]).lower()
            slug = re.sub(r"[^\w\- ]", "", plain, flags=re.UNICODE).replace(" ", "-")
            again = found.get(slug, 0)
            found[slug] = again + 1
            anchors.add(f"{slug}-{again}" if again else slug)
    return anchors


def broken_in_markdown(page: Path, root: Path = ROOT) -> Iterator[str]:
    """The links of one page that lead nowhere, each with why.

    Args:
        page: The Markdown file.
        root: The checkout; a link may not leave it.
    """
    text = page.read_text(encoding="utf-8")
    prose = _CODE.sub("", _FENCE.sub("", text))
    for target in _LINK.findall(prose):
        if _OUTSIDE.match(target):
            continue
        name, _, anchor = unquote(target).partition("#")
        where = (page.parent / name).resolve() if name else page
        said = f"{page.relative_to(root)}: {target}"
        if not where.is_relative_to(root) or not where.exists():
            yield f"{said}: there is no such file"
        elif anchor and where.suffix == ".md" and anchor not in _anchors(where):
            yield f"{said}: no heading makes this anchor"


def _anchors(page: Path) -> set[str]:
    return heading_anchors(page.read_text(encoding="utf-8"))


class _Page(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.ids: set[str] = set()
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.ids |= {value for name in ("id", "name") if (value := given.get(name))}
        if tag == "a" and (href := given.get("href")):
            self.links.append(href)


def broken_in_html(folder: Path) -> Iterator[str]:
    """The links of a generated site that lead nowhere."""
    parsed = {}
    for path in sorted(folder.rglob("*.html")):
        parsed[path.resolve()] = made = _Page()
        made.feed(path.read_text(encoding="utf-8"))
    for path, made in parsed.items():
        for href in made.links:
            if _OUTSIDE.match(href):
                continue
            name, _, anchor = unquote(href).partition("#")
            where = (path.parent / name).resolve() if name else path
            if where not in parsed and not where.exists():
                yield f"{path.relative_to(folder.resolve())}: {href}: there is no such page"
            elif anchor and where in parsed and anchor not in parsed[where].ids:
                yield f"{path.relative_to(folder.resolve())}: {href}: no such anchor"
