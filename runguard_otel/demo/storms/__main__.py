"""Plays one storm: ``python -m runguard_otel.demo.storms misfire on``."""

from __future__ import annotations

import asyncio
import importlib
import logging
import sys

from runguard_otel.demo.wire import Report

NAMES = ("reconnect", "misfire", "dispatch", "tracks", "overrun")


def main(name: str, guards: str) -> None:
    """Play ``name`` with the guards ``on`` or ``off``."""
    if name not in NAMES or guards not in ("on", "off"):
        raise SystemExit(f"usage: python -m runguard_otel.demo.storms {'|'.join(NAMES)} on|off")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    report = Report()
    storm = importlib.import_module(f"runguard_otel.demo.storms.{name}")
    asyncio.run(storm.play(report, guards == "on"))


if __name__ == "__main__":
    main(*sys.argv[1:3])
