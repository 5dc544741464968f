"""What a training leaves, small enough to score by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from collections.abc import Sequence

LAST_CLOSE = [10.0, 12.0, 11.0, 11.0]
TRUTH = [12.0, 11.0, 11.0, 14.0]


def make_manifest(name: str, **changes: Any) -> dict[str, Any]:
    span = {"first": "2020-01-01T00:00:00+00:00", "last": "2020-01-04T00:00:00+00:00", "windows": 4}
    return {
        "dataset": "toy",
        "competitor": name,
        "cell": {"kind": name, "config": {"hidden_size": 2}},
        "windows": {"lookback": 3, "horizon": 1, "features": ["log_return"]},
        "target": {"kind": "log_return"},
        "training": {"seed": 1, "epochs": 2},
        "parameters": 7,
        "best_epoch": 1,
        "data_sha256": "ab" * 32,
        "code_revision": "c0de",
        "split": {"train": span, "validation": span, "test": span},
        "train_mae_naive": 2.0,
        **changes,
    }


def make_forecasts(
    validation: Sequence[float],
    test: Sequence[float],
    truth: Sequence[float] = TRUTH,
    last_close: Sequence[float] = LAST_CLOSE,
) -> pd.DataFrame:
    days = pd.date_range("2020-01-01", periods=len(truth) + 1, tz="UTC").as_unit("ns")
    parts = [
        pd.DataFrame(
            {
                "split": split,
                "origin": days[:-1],
                "time": days[1:],
                "last_close": last_close,
                "truth": truth,
                "forecast": forecast,
            }
        )
        for split, forecast in (("validation", validation), ("test", test))
    ]
    return pd.concat(parts, ignore_index=True)
