"""The stages as DVC runs them: a process of their own, one line per error, and what was there before survives."""

from __future__ import annotations

import json
import os
import runpy
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from exchanges import install_kagglehub

from carrossel.bars.sources.replay import Replay
from carrossel.bars.store import read_raw
from carrossel.errors import CarrosselError, SourceError

if TYPE_CHECKING:
    from collections.abc import Callable

PIPELINE = Path(__file__).resolve().parents[2] / "pipeline"
HEADER = "Timestamp,Open,High,Low,Close,Volume\n"
PARAMS = """
datasets:
  mine: {source: {kind: csv, path: data/incoming/mine.csv}, calendar: 24/7, interval: 1h}
bars: {longest_fill: 2}
"""
OUTPUTS = (
    "data/raw/mine/bars.parquet",
    "data/bars/mine.parquet",
    "reports/quality/mine.json",
    "reports/quality/mine.html",
)

Stage = "Callable[[str], subprocess.CompletedProcess[str]]"


def line(hour: int, close: float) -> str:
    return f"{1_500_001_200 + 3600 * hour},{close},{close + 1},{close - 1},{close},{hour + 1}\n"


BAD = HEADER + "".join(line(hour, 100 - hour % 2 * 101) for hour in range(40))
GOOD = HEADER + "".join(line(hour, 100 + hour % 7) for hour in range(40))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "params.yaml").write_text(PARAMS)
    (tmp_path / "data" / "incoming").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def run(root: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    def stage(name: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-W", "error", str(PIPELINE / f"{name}.py"), "mine"],
            env={**os.environ, "CARROSSEL_ROOT": str(root)},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    return stage


def put(root: Path, text: str) -> None:
    (root / "data" / "incoming" / "mine.csv").write_text(text)


def contents(root: Path) -> dict[str, bytes]:
    return {path: (root / path).read_bytes() for path in OUTPUTS}


def test_a_csv_becomes_canonical_bars_and_a_bad_one_after_it_changes_nothing(root: Path, run: Stage) -> None:
    put(root, GOOD)
    downloaded, prepared = run("download"), run("prepare")
    assert (downloaded.returncode, prepared.returncode) == (0, 0), downloaded.stderr + prepared.stderr
    assert downloaded.stdout.splitlines()[-1] == "download@mine: 40 rows from csv"
    assert prepared.stdout == ("prepare@mine: 40 bars 2017-07-14 03:00 → 2017-07-15 18:00 UTC, 0 missing, 0 filled\n")
    assert json.loads((root / OUTPUTS[2]).read_text())["bars"]["observed"] == 40
    before = contents(root)

    for text, expected in {
        "": "is empty",
        GOOD[:30]: "no row below the header",
    }.items():
        put(root, text)
        failed = run("download")
        assert failed.returncode == 1
        assert failed.stderr.startswith("download@mine: ")
        assert expected in failed.stderr
        assert failed.stderr.count("\n") == 1
        assert contents(root) == before
    assert list(root.rglob(".*.parquet")) == []
    put(root, BAD)
    assert run("download").returncode == 0

    failed = run("prepare")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert failed.stderr.startswith(
        "prepare@mine: mine: impossible numbers in 20 of 40 rows, more than 1%; the first is "
    )
    (root / OUTPUTS[0]).write_bytes((root / OUTPUTS[0]).read_bytes()[:-50])

    failed = run("prepare")
    assert (failed.returncode, failed.stdout, failed.stderr.count("\n")) == (1, "", 1)
    assert "mine/bars.parquet isn't a whole Parquet file" in failed.stderr
    assert all(contents(root)[path] == before[path] for path in OUTPUTS[1:])


def test_a_data_set_that_does_not_come_leaves_the_bars_from_before_if_they_are_its_own(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def choose(file: str) -> None:
        (root / "params.yaml").write_text(
            f"datasets: {{mine: {{source: {{kind: kaggle, dataset: me/mine, file: {file}}}, interval: 1h}}}}"
        )

    kept = tmp_path / "versions" / "7"
    kept.mkdir(parents=True)
    (kept / "mine.csv").write_text(GOOD)
    choose("mine.csv")
    monkeypatch.setenv("CARROSSEL_ROOT", str(root))
    download = runpy.run_path(str(PIPELINE / "download.py"))["work"]
    install_kagglehub(monkeypatch, kept)
    download("mine")
    before = (root / OUTPUTS[0]).read_bytes()

    install_kagglehub(monkeypatch, RuntimeError("HTTP 503"))
    capsys.readouterr()
    download("mine")
    said = capsys.readouterr().out.splitlines()
    assert "mine.csv didn't come (HTTP 503)" in said[0]
    assert said[1] == "download@mine: 40 rows from kaggle that had come before are kept"
    choose("other.csv")
    with pytest.raises(SourceError, match=r"other\.csv didn't come"):
        download("mine")
    assert (root / OUTPUTS[0]).read_bytes() == before


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (BAD, "impossible numbers in 20 of 40 rows"),
        (
            HEADER + "".join(f"{7_500_000_000 + 3600 * i},1,2,1,{1 + i / 100},5\n" for i in range(9)),
            "lie in the future",
        ),
        (HEADER + "".join(line(hour, 7) for hour in range(40)), "constant series"),
        (
            HEADER + "".join(f"{1_500_001_200 + 3600 * i},1,2,,{1 + i / 100},5\n" for i in range(9)),
            "column low holds no number",
        ),
        (HEADER + line(0, 7), "1 of 1 rows are usable bars"),
    ],
    ids=["negative", "future", "constant", "nan-column", "too-short"],
)
def test_bars_that_break_the_rules_leave_the_old_bars(
    root: Path, monkeypatch: pytest.MonkeyPatch, text: str, expected: str
) -> None:
    before = {path: f"what was in {path} before" for path in OUTPUTS[1:]}
    for path, old in before.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(old)
    put(root, text)
    monkeypatch.setenv("CARROSSEL_ROOT", str(root))
    download, prepare = (runpy.run_path(str(PIPELINE / f"{name}.py"))["work"] for name in ("download", "prepare"))
    download("mine")

    with pytest.raises(CarrosselError, match=expected):
        prepare("mine")

    assert {path: (root / path).read_text() for path in before} == before


LIVE = """
datasets:
  mine:
    source: {kind: replay, of: {kind: csv, path: data/incoming/mine.csv}, start: "2017-07-14T10:00:00Z"}
    interval: 1h
    newest: 20
bars: {longest_fill: 2}
"""


def test_a_live_source_fills_its_archive_and_each_download_brings_what_is_new(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root, GOOD)
    (root / "params.yaml").write_text(LIVE)
    monkeypatch.setenv("CARROSSEL_ROOT", str(root))
    download, prepare = (runpy.run_path(str(PIPELINE / f"{name}.py"))["work"] for name in ("download", "prepare"))

    for _ in range(20):
        download("mine")
    prepare("mine")

    said = capsys.readouterr().out.splitlines()
    assert said[0] == "download@mine: 7 new and 0 revised bars from replay, 7 in all"
    assert said[19] == "download@mine: 1 new and 0 revised bars from replay, 26 in all"
    assert said[20].startswith("prepare@mine: 20 bars 2017-07-14 09:00")
    assert said[20].endswith("6 older ones left out")
    assert [path.name for path in (root / "data" / "raw" / "mine").iterdir()] == ["2017-07.parquet"]
    assert read_raw(root / "data" / "raw" / "mine").provenance["kind"] == "replay"
    assert sorted(path.name for path in (root / "data" / "archive" / "mine").iterdir() if path.suffix) == [
        "2017-07.parquet",
        "state.json",
    ]


def test_a_live_source_that_fails_leaves_the_bars_from_before(
    root: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    put(root, GOOD)
    (root / "params.yaml").write_text(LIVE)
    monkeypatch.setenv("CARROSSEL_ROOT", str(root))
    download = runpy.run_path(str(PIPELINE / "download.py"))["work"]

    def fail(*_: object) -> None:
        raise SourceError("replay: the exchange is down. Try later.")

    with monkeypatch.context() as broken:
        broken.setattr(Replay, "pages", fail)
        with pytest.raises(SourceError, match="exchange is down"):
            download("mine")
        assert not (root / "data" / "raw" / "mine").exists()
    download("mine")
    monkeypatch.setattr(Replay, "pages", fail)
    download("mine")

    said = capsys.readouterr().out.splitlines()
    assert "the exchange is down" in said[1]
    assert said[2] == "download@mine: 0 new and 0 revised bars from replay, 7 in all"


@pytest.mark.parametrize("stage", ["download", "prepare"])
def test_a_stage_imports_no_training_or_tracking_library(stage: str) -> None:
    code = (
        f"import runpy, sys; runpy.run_path({str(PIPELINE / (stage + '.py'))!r}); "
        "print([name for name in ('torch', 'pytorch_lightning', 'mlflow', 'optuna') if name in sys.modules])"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)

    assert done.stdout == "[]\n"
