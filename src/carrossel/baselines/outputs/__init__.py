"""Baselines as folders beside the trained models': the same rows, a manifest, no weights."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pandas as pd
import torch

from carrossel.baselines.base import make_baseline, registry
from carrossel.files import replacing, replacing_folder, write_json
from carrossel.windows.forecast_rows import FORECAST_PARTS, describe_windows, forecast_rows

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from carrossel.baselines.base import Baseline, BaselineConfig
    from carrossel.windows.question import Question
    from carrossel.windows.tensor import WindowedSeries


def write_baselines(
    folder: Path,
    chosen: Mapping[str, tuple[str, BaselineConfig]],
    data: WindowedSeries,
    question: Question,
    *,
    dataset: str,
    seed: int,
    provenance: Mapping[str, str],
) -> None:
    """Fit each baseline that can answer the target and write `folder/<name>/`; all of them replace what was there, or none.

    Args:
        chosen: kind and config by name.
        provenance: `data_sha256` and `code_revision`.
    """
    torch.set_num_threads(1)  # as a training does by default: another dataset's stage runs beside this one
    with replacing_folder(folder) as temporary:
        for name, (kind, config) in chosen.items():
            if data.target.unit not in registry.load(kind).units:
                print(
                    f"{dataset}: {name} left out: it has no answer in {data.target.unit.replace('_', ' ')}.", flush=True
                )
                continue
            started = time.perf_counter()
            baseline = make_baseline(kind, config, seed)
            baseline.fit(data)
            mine = temporary / name
            mine.mkdir()
            with replacing(mine / "forecasts.parquet") as path:
                _forecasts(baseline, data).to_parquet(path, compression="zstd", index=False)
            write_json(
                mine / "manifest.json",
                {
                    "dataset": dataset,
                    "competitor": name,
                    "baseline": {"kind": kind, "config": config.model_dump(mode="json")},
                    "windows": question.windows.model_dump(mode="json"),
                    "target": question.target.model_dump(mode="json"),
                    "training": {"seed": seed},
                    **provenance,
                    **describe_windows(data),
                },
            )
            print(f"{dataset}: {name} fitted in {time.perf_counter() - started:.1f} s", flush=True)


def _forecasts(baseline: Baseline, data: WindowedSeries) -> pd.DataFrame:
    parts = []
    for part in FORECAST_PARTS:
        origins = data.split.origins(part)
        rows = forecast_rows(data, origins, data.report(baseline.forecast(data, origins), origins))
        rows.insert(0, "split", part)
        parts.append(rows)
    return pd.concat(parts, ignore_index=True)
