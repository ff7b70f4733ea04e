"""The API reference: a static site from docstrings, in ``build/api``, every link checked.

By pdoc: it reads docstrings and annotations as they are, needs no configuration and no theme, and
its pages work from a folder. The guides stay Markdown beside the code, where everybody reads them.
"""

from __future__ import annotations

import importlib
import re
import shutil
import sys
from pathlib import Path
from typing import Final

import pdoc
import pdoc.render

from tools.links import ROOT, broken_in_html, broken_in_markdown, pages

PUBLIC: Final = (
    "runguard_otel",
    "runguard_otel.typing",
    "runguard_otel.errors",
    "runguard_otel.testing",
)
"""What ``docs/versioning.md`` promises. The rest can be read in its source."""


def build(into: Path) -> None:
    """Write the site.

    Args:
        into: Its folder; what was there is gone.
    """
    shutil.rmtree(into, ignore_errors=True)
    for name in PUBLIC:
        module = importlib.import_module(name)
        for public in module.__all__:
            getattr(module, public)  # they are loaded at first use; pdoc looks at what is there
    # The rest of the package is private by path; "!" keeps pdoc from walking into it.
    own = [*PUBLIC, *(f"!{name}\\.(?!{'|'.join(_below(name)) or '$'})" for name in PUBLIC)]
    pdoc.render.configure(docformat="google", show_source=False, search=True)
    pdoc.pdoc(*own, output_directory=into)
    for page in into.rglob("*.html"):  # descriptions of settings point to pages beside their own
        text = page.read_text(encoding="utf-8")
        page.write_text(re.sub(r'href="([\w.-]+\.md)', r'href="../../docs/\1', text), "utf-8")


def _below(name: str) -> list[str]:
    return [p.removeprefix(f"{name}.") for p in PUBLIC if p.startswith(f"{name}.")]


def main() -> int:
    """Build and check; 1 if a link leads nowhere."""
    into = ROOT / "build" / "api"
    build(into)
    broken = [*broken_in_html(into)]
    broken += [line for page in pages() for line in broken_in_markdown(page)]
    for line in broken:
        print(line, file=sys.stderr)
    made = sorted(into.rglob("*.html"))
    print(f"{len(made)} pages, {len(broken)} broken links: {into.relative_to(ROOT)}/index.html")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
