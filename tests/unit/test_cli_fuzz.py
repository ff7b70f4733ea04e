"""Whatever is typed behind ``runguard-otel``: an answer or one clear line, no traceback, no hang.

``make soak`` tries 5,000 command lines, a default run 150. What would play, serve or follow for
minutes ends where its arguments are understood; values never name a place outside of the test's own
folder.
"""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import typer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from runguard_otel.cli import commands, demo, timeline, watch
from runguard_otel.demo import runner
from runguard_otel.demo.machine import Machine
from runguard_otel.errors import SettingsError
from runguard_otel.settings import Settings

pytestmark = pytest.mark.unit

CASES = int(os.environ.get("SOAK_CASES", "150"))
SECONDS = 20
SECRET = "hunter22"

ODD = [
    "", "-", "--", "-1", "0", "1e999999", "1e-999999", "NaN", "inf", "9" * 400, "0x10", "true",
    "never", "\u0000", "é", "🙂" * 50, "a" * 300, "{}", "[[price]]", "%s%n", "$(id)",
    "pipe", "folder", "missing", "broken.toml", "binary", "fine.toml",
    "redis://", "reddis://x", f"redis://me:{SECRET}@127.0.0.1:1/0", "redis://[", "redis://h:port",
    f"postgresql://me:{SECRET}@127.0.0.1:1/db?driver=asyncpg", "postgresql://%zz", "memory://",
    "dynamodb://", "sqlite://relative", f"http://me:{SECRET}@127.0.0.1:1", "http://127.0.0.1:1",
    "ftp://127.0.0.1", "http://", "://", "reconnect", "misfire", "ship", "deepgram/nova-3", "stt",
]  # fmt: skip


SERVERS: list[dict[str, str | None]] = [
    dict(zip(("LIVEKIT_URL", "LIVEKIT_API_KEY", "LIVEKIT_API_SECRET"), values, strict=True))
    for values in [
        (None, None, None), ("ws://127.0.0.1:1", "devkey", SECRET), ("é", "devkey", SECRET),
        (f"http://me:{SECRET}@127.0.0.1:1", "🙂", SECRET), ("wss://[", "", SECRET),
    ]
]  # fmt: skip
BEGUN: list[str] = []


def _leaves(command: Any, path: tuple[str, ...] = ()) -> Iterator[Any]:
    for name, inner in getattr(command, "commands", {}).items():
        yield from _leaves(inner, (*path, name))
    if not getattr(command, "commands", {}):
        yield path, command


def _line(data: st.DataObject, leaf: tuple[tuple[str, ...], Any]) -> list[str]:
    path, command = leaf
    words = list(path)
    anything = st.one_of(
        st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), max_size=20).filter(_stays_here)
    )
    for parameter in command.params:
        if not data.draw(st.booleans()):
            continue
        # Where no URL belongs, such as in the name of a folder, it is repeated as it was typed.
        takes_urls = {"--url", "--prometheus"} & set(parameter.opts)
        value = anything if takes_urls else anything.filter(lambda text: SECRET not in text)
        if parameter.param_type_name == "argument":
            words.append(data.draw(value))
        elif getattr(parameter, "is_flag", False):
            words.append(parameter.opts[0])
        else:
            words += [parameter.opts[-1], data.draw(value)]
    if data.draw(st.integers(0, 9)) == 0:
        words.append(data.draw(anything.filter(lambda text: SECRET not in text)))
    return words


def _stays_here(text: str) -> bool:
    return not text.startswith(("/", "~")) and ".." not in text


@contextmanager
def bounded(seconds: int, what: object) -> Iterator[None]:
    def late(*_: object) -> None:
        raise AssertionError(f"still running after {seconds} s: {what}")

    before = signal.signal(signal.SIGALRM, late)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    here = tmp_path_factory.mktemp("typed")
    (here / "folder").mkdir()
    os.mkfifo(here / "pipe")
    (here / "broken.toml").write_text("[[price]]\nrates = 3")
    (here / "fine.toml").write_text("")
    (here / "binary").write_bytes(bytes(range(256)))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(here)
        _end_where_it_would_begin(patch)
        yield here


def _end_where_it_would_begin(patch: pytest.MonkeyPatch) -> None:
    """Of the demonstration, of serving and of following only what takes minutes is left out."""
    follow = timeline._follow
    patch.setattr(demo, "_measured", lambda _: Machine())
    patch.setattr(runner, "run_plan", lambda *_, **__: asyncio.sleep(0))
    patch.setattr(watch, "_serve", lambda *_: BEGUN.append("watch"))
    patch.setattr(timeline, "_follow", lambda paths, _: follow(paths, 1e-6))


@settings(
    max_examples=CASES,
    deadline=None,
    phases=[Phase.generate],  # a line is short enough to read unshrunk, and each run takes its time
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
@pytest.mark.timeout(0)
def test_no_command_line_ends_in_a_traceback_hangs_or_shows_a_password(
    folder: Path, data: st.DataObject
) -> None:
    leaves = list(_leaves(typer.main.get_command(commands())))
    words = _line(data, data.draw(st.sampled_from(leaves)))
    env = {"COLUMNS": "120", "NO_COLOR": "1", "RUNGUARD_CLAIMS_URL": "", "RUNGUARD_PRICES": ""}
    env |= data.draw(st.sampled_from(SERVERS))
    with bounded(SECONDS, words):
        done = CliRunner().invoke(commands(), words, env=env, input="")
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise AssertionError(words) from done.exception
    said = done.stdout + done.stderr
    assert "Traceback" not in said, words
    if "Usage:" not in said:  # there, Click repeats what was typed
        assert SECRET not in said, words


def test_watch_is_tried_up_to_where_it_serves(folder: Path) -> None:
    BEGUN.clear()
    good = CliRunner().invoke(commands(), ["watch", "--poll", "5"], env=SERVERS[1])
    assert (good.exit_code, BEGUN) == (0, ["watch"]), good.stderr
    bad = CliRunner().invoke(commands(), ["watch", "--webhook", "pipe"], env=SERVERS[1])
    assert (bad.exit_code, BEGUN) == (2, ["watch"])
    assert "--webhook pipe: give ADDRESS:PORT" in bad.stderr


def test_a_report_that_cannot_be_written_is_refused_before_the_storms(folder: Path) -> None:
    done = CliRunner().invoke(commands(), ["demo", "--html", "folder"])
    assert done.exit_code == 2
    assert done.stderr == "error folder: cannot be written: Is a directory\n"


NAMES = [*Settings.model_fields, "mod", "vad_misfire_limt", ""]
VALUES = st.one_of(
    st.sampled_from([word for word in ODD if "\u0000" not in word]),
    st.sampled_from(["off", "Observe", "enforce", "no", "3", "0.5", "open", "auto"]),
)
ANYTHING = st.one_of(
    VALUES,
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.lists(st.integers()),
    st.binary(),
)


@settings(max_examples=CASES, deadline=None)
@given(
    variables=st.dictionaries(st.sampled_from(NAMES), VALUES, max_size=4),
    arguments=st.dictionaries(st.sampled_from(NAMES), ANYTHING, max_size=3),
)
def test_settings_are_read_or_refused_with_the_setting_named(
    variables: dict[str, str], arguments: dict[str, Any]
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        for name, value in variables.items():
            patch.setenv(f"RUNGUARD_{name.upper()}", value)
        loaded = Settings.load()  # whatever the environment says, a worker comes up
        assert pickle.loads(pickle.dumps(loaded.values())) == loaded.values()
        try:
            Settings.load(**arguments)
        except SettingsError as error:
            assert any(name in str(error) for name in arguments)
            assert "\n" not in str(error)
