"""Makes ``docs/pictures``: previews of a storm, guards off and on, photographed by Chromium.

Run from the repository: ``python -m docs.make_pictures``. Needs Debian's ``prometheus`` and
``chromium``. The data is the made-up storm of the tests. ``--demo demo-report.html`` takes the
picture of a report of ``make demo``.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from alerts.rules import rule_files
from alerts.tuning import Tuning
from tests.kit.history import now, prometheus_with
from tests.kit.sinks import eventually
from tests.kit.storm import storm

PICTURES = Path(__file__).resolve().parent / "pictures"


@contextmanager
def pages(folder: Path) -> Iterator[dict[str, Path]]:
    """A preview page of each story: guards that only observe, and guards that act."""
    import time

    from runguard_otel.cli.preview import preview
    from runguard_otel.preview.prometheus import Prometheus

    made = {}
    for name, enforce in (("off", False), ("on", True)):
        end = now()
        with prometheus_with(storm(end, enforce=enforce), end, rule_files(Tuning())) as server:
            client = Prometheus(server.url)
            eventually(lambda c=client: bool(c.instant("ALERTS", time.time())), 20)  # type: ignore[misc]  # bound now
            made[name] = folder / f"{name}.html"
            preview(server.url, made[name], "3h", "", "", "", False)
    yield made


def photograph(
    page: Path, picture: Path, *, board: str, width: int, height: int, dark: bool
) -> None:
    """One picture of one dashboard of a page."""
    chromium = shutil.which("chromium")
    if chromium is None:
        raise SystemExit("chromium is not installed: apt-get install chromium")
    picture.parent.mkdir(parents=True, exist_ok=True)
    theme = "dark" if dark else "light"
    address = f"file://{page}?theme={theme}#{board}"
    if width < 500:  # Chromium's windows are no narrower, a frame in one is
        frame = page.with_name("frame.html")
        frame.write_text(
            f'<body style="margin:0"><iframe src="{address}" style="border:0" width="{width}" '
            f'height="{height}"></iframe>'
        )
        address, width = f"file://{frame}", 500
    with tempfile.TemporaryDirectory() as profile:
        subprocess.run(
            [chromium, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
             "--disable-background-networking", "--disable-sync", "--no-first-run",
             f"--user-data-dir={profile}", f"--window-size={width},{height}",
             "--virtual-time-budget=3000", f"--screenshot={picture}",
             address],
            check=True, capture_output=True, timeout=120,
        )  # fmt: skip


def main() -> None:
    """Make the README's pictures, or with ``--all`` every dashboard in every size and colour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--all", type=Path, help="folder for pictures of everything, to look at")
    parser.add_argument("--demo", type=Path, help="only the picture of this report of `make demo`")
    asked = parser.parse_args()
    everything = asked.all
    if asked.demo is not None:
        photograph(
            asked.demo.resolve(), PICTURES / "demo-report.png", board="",
            width=1240, height=2180, dark=False,
        )  # fmt: skip
        return
    with tempfile.TemporaryDirectory() as folder, pages(Path(folder)) as found:
        overview = "runguard-overview"
        for name, page in found.items():
            photograph(
                page, PICTURES / f"overview-guards-{name}.png", board=overview,
                width=1440, height=900, dark=name == "on",
            )  # fmt: skip
        if everything is None:
            return
        for board in (
            "overview",
            "reconnects",
            "misfires",
            "claims",
            "subscriptions",
            "cost",
            "itself",
        ):
            for width, height in ((1440, 900), (390, 2600)):
                for dark in (False, True):
                    name = f"{board}-{width}-{'dark' if dark else 'light'}.png"
                    photograph(
                        found["on"], everything.resolve() / name, board=f"runguard-{board}",
                        width=width, height=height, dark=dark,
                    )  # fmt: skip


if __name__ == "__main__":
    main()
