"""Run the LiveKit suites on every supported livekit-agents and write ``docs/compatibility.md``.

With ``--check`` (what CI runs) the oldest releases run all their suites, the others those that say
whether the guards work; nothing is written, and the page must say what was found. The page is
written only when no test failed. Logs are in ``.cache/matrix``.
"""

from __future__ import annotations

import argparse
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tools.compatibility_doc import (
    DOC,
    Found,
    differences,
    render,
    states,
)
from tools.matrix_environments import (
    CACHE,
    ROOT,
    InstallFailed,
    environment,
    newest,
    releases,
)
from tools.matrix_suites import Result, examine


def main() -> int:
    """Run, print a summary, write or check the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("versions", nargs="*", help="only these; then no page is written")
    parser.add_argument("--check", action="store_true", help="compare the page, write nothing")
    parser.add_argument("--jobs", type=int, default=4, help="releases at a time")
    options = parser.parse_args()
    unknown = set(options.versions) - set(releases())
    if unknown:
        parser.error(f"not among {', '.join(releases())}: {', '.join(sorted(unknown))}")
    chosen = options.versions or releases()
    whole = {version for version in chosen if not options.check} | _oldest(chosen)
    if len([version for version in chosen if _installed(version)]) < len(chosen):
        return 1
    with ThreadPoolExecutor(options.jobs) as pool:
        results = list(pool.map(lambda v: examine(v, complete=v in whole), chosen))
    _print(results)
    if not all(result.good for result in results):
        return 1
    found = [Found(r.probe, r.skipped, r.complete) for r in results]
    page = DOC.relative_to(ROOT)
    if options.versions:
        return 0
    if not options.check:
        DOC.write_text(render(found), encoding="utf-8")
        print(f"written: {page}")
        return 0
    stale = differences(found, DOC.read_text(encoding="utf-8"))
    if stale:
        print(f"{page} says something else (-) than was found (+):", *stale, sep="\n")
        print("If that is as it should be: `make test-matrix`, and commit the page.")
    return 1 if stale else 0


def _installed(version: str) -> bool:
    """One after the other, for uv is parallel itself; says what to do when it cannot."""
    try:
        environment(version)
    except InstallFailed as failure:
        print(failure)
        return False
    return True


def _oldest(versions: list[str]) -> set[str]:
    """0.12 and the first 1.x: most differs there."""
    first = next((version for version in versions if version.startswith("1.")), "")
    return {version for version in versions if version.startswith("0.")} | {first} - {newest()}


def _print(results: list[Result]) -> None:
    print(f"{'livekit-agents':<16}{'passed':>8}{'skipped':>9}{'failed':>8}{'seconds':>9}  guards")
    for result in results:
        guards = states(result.probe).items() if result.probe else ()
        print(
            f"{result.version:<16}{result.passed:>8}{sum(result.skipped.values()):>9}"
            f"{len(result.failed):>8}{result.seconds:>9.0f}  "
            + ", ".join(f"{guard} {state}" for guard, (state, _) in guards)
        )
        for name in result.failed:
            print(f"  failed: {name}")
    if not all(result.good for result in results):
        print(f"Logs: {CACHE.relative_to(ROOT)}/VERSION.log")


if __name__ == "__main__":
    sys.exit(main())
