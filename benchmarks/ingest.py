"""From a minute CSV to the first training batch: seconds, peak memory, and how both grow with the rows.

    python benchmarks/ingest.py [--quick] [--data FOLDER]

A file shaped like Kaggle's bitcoin history (`Timestamp,Open,High,Low,Close,Volume`, Unix seconds as floats) is generated; each size
is read in a process of its own: source, checks and repairs, features, scaling, window tensor, one batch of 256 windows. Memory is
the peak of that process above what its imports take, as a multiple of the six columns in float64. With --data, the
`BTCUSD_1m_*.parquet` files of a folder are read the same way.
Goals: 6.8 million rows in at most 15 s with at most 3 × the columns, and time that grows linearly.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROWS = 6_800_000
SIZES = (1_000_000, 2_000_000, 4_000_000, 8_000_000)
SECONDS, MEMORY, GROWTH = 15.0, 3.0, 1.25


def generate(path: Path, rows: int) -> None:
    """A random walk of minute candles with 1 % of the minutes absent."""
    import numpy as np
    import pandas as pd

    rng = np.random.default_rng(1)
    close = 1000 * np.exp(np.cumsum(rng.normal(0, 5e-4, rows)))
    opened = np.concatenate([[1000.0], close[:-1]])
    spread = rng.uniform(0, 1e-3, (2, rows))
    frame = pd.DataFrame(
        {
            "Timestamp": 1.325412e9 + 60.0 * np.arange(rows),
            "Open": opened.round(2),
            "High": (np.maximum(opened, close) * (1 + spread[0])).round(2) + 0.01,
            "Low": (np.minimum(opened, close) * (1 - spread[1])).round(2) - 0.01,
            "Close": close.round(2),
            "Volume": rng.lognormal(size=rows).round(4),
        }
    )
    frame[rng.random(rows) > 0.01].to_csv(path, index=False)


def measure(path: Path) -> None:
    """Read one file to the first batch; print what it took as JSON."""
    import pandas as pd
    import torch

    from carrossel.bars.config import Dataset, Repair
    from carrossel.bars.preparation import prepare
    from carrossel.bars.sources import csv  # noqa: F401 - imports count as imports, not as work
    from carrossel.bars.sources.base import open_source
    from carrossel.targets.base import TargetConfig, make_target
    from carrossel.windows.config import Windows
    from carrossel.windows.tensor import window_series

    target = make_target(TargetConfig(kind="log_return"))
    windows = Windows(lookback=60, features=("log_return", "log_range", "log_volume_change"))
    dataset = Dataset.model_validate({"source": {"kind": "csv", "path": str(path)}, "interval": "1min"})
    base = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    start = time.perf_counter()
    steps = {}

    def lap(name: str) -> None:
        steps[name] = time.perf_counter() - start - sum(steps.values())

    raw = open_source(dataset.source, path.parent, dataset.interval).fetch()
    rows = len(raw.frame)
    lap("read")
    bars = prepare(raw, dataset, Repair(), name="benchmark", now=pd.Timestamp("2030-01-01", tz="UTC")).bars
    del raw
    lap("prepare")
    data = window_series(bars, windows, target)
    batch = data.gather(torch.from_numpy(data.split.train[:256]))
    lap("window")
    peak = 1024 * (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - base)
    print(json.dumps({"rows": rows, "batch": list(batch.shape), "steps": steps, "memory": peak / (rows * 6 * 8)}))


def run(path: Path) -> dict[str, object]:
    """`measure` in a fresh process."""
    done = subprocess.run(
        [sys.executable, __file__, "--measure", str(path)], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    result: dict[str, object] = json.loads(done.stdout.splitlines()[-1])
    return result


def show(name: str, result: dict) -> float:
    """Print a row; return the seconds in all."""
    steps, total = result["steps"], sum(result["steps"].values())
    columns = "  ".join(f"{step} {seconds:5.1f}" for step, seconds in steps.items())
    print(
        f"{name:32} {result['rows']:>10,} rows  {columns}  all {total:5.1f} s  memory {result['memory']:.2f} ×",
        flush=True,
    )
    return total


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="the large file alone and one fourth of it, under 50 s")
    parser.add_argument("--data", type=Path, help="folder with BTCUSD_1m_*.parquet files to read as well")
    parser.add_argument("--measure", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return 0
    seconds, memory = {}, 0.0
    with tempfile.TemporaryDirectory() as folder:
        for rows in sorted({ROWS // 4, ROWS} if options.quick else {*SIZES, ROWS}):
            path = Path(folder) / f"{rows}.csv"
            generate(path, rows)
            result = run(path)
            seconds[rows] = show("generated CSV", result)
            memory = result["memory"] if rows == ROWS else memory
            path.unlink()
    for path in sorted(options.data.resolve().glob("BTCUSD_1m_*.parquet")) if options.data else []:
        show(path.name, run(path))
    few, many = min(seconds), max(seconds)
    growth = (seconds[many] / many) / (seconds[few] / few)
    print(f"seconds per row, {many:,} against {few:,} rows: {growth:.2f} (at most {GROWTH})")
    print(f"memory: {memory:.2f} × the columns (at most {MEMORY:g})")
    print(f"ingest: {seconds[ROWS]:.1f} s for {ROWS:,} rows (at most {SECONDS:g} s)")
    return int(seconds[ROWS] > SECONDS or memory > MEMORY or growth > GROWTH)


if __name__ == "__main__":
    sys.exit(main())
