"""What `export` writes is whole or not there, and nobody's change is overwritten unasked."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from runguard_otel.cli.export.commands import app
from runguard_otel.cli.export.files import Export

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
COMMANDS = ("dashboards", "alerts", "compose", "kubernetes", "mimir", "grafana")


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words), env={"COLUMNS": "200", "NO_COLOR": "1"})


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_second_export_changes_nothing_and_says_so(command: str, tmp_path: Path) -> None:
    first = run(command, str(tmp_path), "--json")
    assert sorted(json.loads(first.stdout)["written"]) == sorted(
        str(tmp_path / name) for name in tree(tmp_path)
    )
    second = run(command, str(tmp_path), "--json")
    answer = json.loads(second.stdout)
    assert answer["written"] == []
    assert len(answer["unchanged"]) == len(tree(tmp_path))
    assert "up to date" in run(command, str(tmp_path)).stdout


@pytest.mark.parametrize("command", COMMANDS)
def test_a_changed_file_is_shown_and_kept_until_force(command: str, tmp_path: Path) -> None:
    """Mutant: without the comparison the change is gone and the exit status 0."""
    run(command, str(tmp_path))
    shipped = tree(tmp_path)
    victim, gone = sorted(tmp_path / name for name in shipped)[0], None
    if len(shipped) > 1:
        gone = sorted(tmp_path / name for name in shipped)[-1]
        gone.unlink()
    victim.write_text("mine\n")
    refused = run(command, str(tmp_path))
    assert refused.exit_code == 1
    assert "\n-mine\n+" in refused.stdout
    assert f"1 of {len(shipped)} files" in refused.stderr
    assert "--force" in refused.stderr
    assert victim.read_text() == "mine\n"
    assert gone is None or not gone.exists(), "nothing is written beside what is refused"
    forced = run(command, str(tmp_path), "--force", "--json")
    assert json.loads(forced.stdout)["written"] == [
        str(tmp_path / name)
        for name in json.loads(run(command, str(tmp_path), "--json").stdout)["unchanged"]
        if Path(name) in (victim, gone)
    ]
    assert tree(tmp_path) == shipped


def test_a_refusal_as_json_names_the_files(tmp_path: Path) -> None:
    run("mimir", str(tmp_path))
    (tmp_path / "runguard.yaml").write_text("mine\n")
    refused = run("mimir", str(tmp_path), "--json")
    assert json.loads(refused.stdout) == {
        "written": [], "changed": [str(tmp_path / "runguard.yaml")]
    }  # fmt: skip


def test_a_full_disk_leaves_everything_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Mutant: written in place, the first file is new and the second is not."""
    (tmp_path / "a").write_text("old")
    real = Path.write_bytes

    def full(path: Path, content: bytes) -> int:
        if path.name == "b":
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        return real(path, content)

    monkeypatch.setattr(Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space"):
        Export(tmp_path, {"a": b"new", "b": b"new"}).write(["a", "b"])
    assert tree(tmp_path) == {"a": b"old"}


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    """Mutant: written in place, the open file shows the new text."""
    (tmp_path / "a").write_text("old")
    with (tmp_path / "a").open() as reader:
        Export(tmp_path, {"a": b"new"}).write(["a"])
        assert reader.read() == "old"
    assert tree(tmp_path) == {"a": b"new"}


def test_an_exported_compose_cannot_have_its_secrets_committed(tmp_path: Path) -> None:
    run("compose", str(tmp_path))
    ignored = (tmp_path / "deploy" / "secrets" / ".gitignore").read_text().split()
    assert ignored == ["*", "!README.md", "!.gitignore"]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("kubernetes", "--namespace", "Not A Name"), "--namespace"),
        (("kubernetes", "--label", "release"), "--label takes NAME=VALUE"),
        (("mimir", "--set", "reconect_trips=4"), "did you mean"),
    ],
)
def test_a_bad_word_is_one_line_and_writes_nothing(
    words: tuple[str, ...], says: str, tmp_path: Path
) -> None:
    done = run(words[0], str(tmp_path), *words[1:])
    assert done.exit_code == 2
    assert says in done.stderr
    assert tree(tmp_path) == {}


@pytest.mark.parametrize("command", COMMANDS)
def test_other_label_names_reach_every_file_and_no_shipped_one_stays(
    command: str, tmp_path: Path
) -> None:
    """Mutant: boards written as they ship still ask for ``cluster`` and show nothing."""
    names = ["cluster_label=k8s_cluster_name", "service_label=app"]
    words = [word for name in names for word in ("--set", name)]
    assert run(command, str(tmp_path), *words).exit_code == 0
    for name, content in tree(tmp_path).items():
        if name.startswith("deploy/") or name == "docker-compose.yml":
            continue
        text = re.sub(r"(?m)^ *#.*", "", content.decode())  # comments are prose
        label = r'(?<![-$\w."])(cluster|service_name)\s*(=|!|, |\)|}})'
        queries = [text] if name.endswith(".json") else re.findall(r"`[^`]+`", text)
        queries = queries if name.endswith((".json", ".md")) else [text]
        assert [m[0] for q in queries for m in re.finditer(label, q)] == [], name
    if command == "dashboards":
        board = (tmp_path / "runguard-overview.json").read_text()
        assert 'k8s_cluster_name=~\\"$cluster\\", app=~\\"$service\\"' in board
        assert "label_values(runguard_worker_heartbeat_seconds, k8s_cluster_name)" in board
        assert '"k8s_cluster_name": "Cluster"' in board
        assert "{{k8s_cluster_name}} {{app}}" in board


def test_the_names_that_ship_are_written_as_they_ship(tmp_path: Path) -> None:
    run("dashboards", str(tmp_path))
    for path in tmp_path.iterdir():
        assert path.read_bytes() == (ROOT / "dashboards/generated" / path.name).read_bytes()
