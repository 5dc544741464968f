"""What trials share: bars up to the test part and their windows, in one file per machine that every process maps."""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass, field, replace
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd
from filelock import FileLock
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file

from carrossel.errors import StudyError
from carrossel.files import replacing
from carrossel.targets.base import make_target
from carrossel.training.fingerprint import digest_source
from carrossel.windows.columns import NUMERIC
from carrossel.windows.scaling import Scaler
from carrossel.windows.splitting import Split
from carrossel.windows.tensor import WindowedSeries, columns_of, window_series

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.targets.base import TargetConfig
    from carrossel.windows.config import Windows

    Arrays = dict[str, NDArray[np.generic]]

_ROOMS = ("targets", "windows", "cells", "forecaster", "diagnostics", "training", "tuning")
_BARS = "bars.safetensors"
_FORGOTTEN_AFTER_S = 7 * 24 * 3600
_KEPT = 12


@cache
def source_digest() -> str:
    """Digest of the source that decides a trial's result, as this process found it when first asked: edits come later."""
    return digest_source(_ROOMS)


class Series(NamedTuple):
    """Bars up to the test part, and the parts of each fold."""

    bars: pd.DataFrame
    folds: tuple[Split, ...]


@dataclass(frozen=True)
class Held:
    """What every trial of a study reads; goes to a worker once.

    With a folder it is a name of files there, a few hundred bytes: the bars, and the scaled tensors of each question (features,
    scaler, target, stride, fold), made by whoever needs them first. They are mapped, so a machine has them in memory once for
    all its workers. Without a folder, for workers on other machines, the bars travel along.

    Args:
        digest: of bars and folds.
        code: digest of the source that the driver runs.
        folder: of these bars alone.
        travelling: bars and folds where there is no folder.
    """

    digest: str
    code: str
    folder: Path | None
    dataset: str = field(compare=False)
    folds: int = field(compare=False)
    travelling: Series | None = field(default=None, compare=False, repr=False)

    @classmethod
    def share(cls, dataset: str, bars: pd.DataFrame, folds: Sequence[Split], folder: Path | None) -> Held:
        """Prepare bars for trials; called by the driver.

        Args:
            bars: canonical, cut where the test part begins.
            folds: parts of each fold, nothing in `test`.
            folder: on this machine, for data of studies alone; what nobody used for a week goes. None: the bars travel.

        Raises:
            ValueError: if a fold reaches beyond the bars or has a test part.
        """
        if any(len(fold.test) or fold.train[-1] >= len(bars) or fold.validation[-1] >= len(bars) for fold in folds):
            raise ValueError("a study may hold nothing of the test part")
        arrays = _pack(bars, folds)
        digest = _digest(arrays)
        if folder is None:
            series = Series(bars[[name for name in ("timestamp", *NUMERIC) if name in bars]], tuple(folds))
            return cls(digest, source_digest(), None, dataset, len(folds), series)
        mine = folder / digest[:24]
        if _map(mine / _BARS, digest) is None:
            _write(arrays, mine / _BARS, digest)
        _forget_unused(mine)
        return cls(digest, source_digest(), mine, dataset, len(folds))

    def windowed(self, windows: Windows, target: TargetConfig, fold: int) -> WindowedSeries:
        """The windows of one fold, as `window_series` makes them from this fold's parts.

        Raises:
            StudyError: if the shared bars are gone.
        """
        if self.folder is not None and self.folder.exists():
            self.folder.touch()
        # The lookback decides only how windows are cut from the tensors: one question serves all.
        data = _ask(self, windows.model_copy(update={"lookback": 1}), target, fold)
        mine = replace(data, lookback=windows.lookback)
        vars(mine)["unchanged"] = data.unchanged
        return mine


@lru_cache(maxsize=2)
def _read_series(held: Held) -> Series:
    if held.travelling is not None:
        return held.travelling
    found = _map(held.folder / _BARS, held.digest) if held.folder else None
    if found is None:
        raise StudyError(
            f"{held.folder}: the bars there are gone or damaged. Run the study again: it goes on where it was."
        )
    return _unpack(found, held.folds)


@lru_cache(maxsize=_KEPT)
def _ask(held: Held, windows: Windows, target: TargetConfig, fold: int) -> WindowedSeries:
    if held.folder is None:
        return _make(held, windows, target, fold)
    question = [held.digest, held.code, windows.model_dump(mode="json"), target.model_dump(mode="json"), fold]
    digest = hashlib.sha256(json.dumps(question, sort_keys=True).encode()).hexdigest()
    path = held.folder / f"{digest[:24]}.safetensors"
    found = _map(path, digest)
    if found is None:
        with FileLock(path.with_suffix(".lock")):  # workers start with the same question: one makes it, the others wait
            found = _map(path, digest)
            if found is None:
                _write(_tensors_of(_make(held, windows, target, fold)), path, digest)
                found = _map(path, digest)
    if found is None:
        raise StudyError(f"{path} can't be read back. Look at the disk and run again.")
    return _series_of(found, held, windows, target, fold)


def _make(held: Held, windows: Windows, target: TargetConfig, fold: int) -> WindowedSeries:
    bars, folds = _read_series(held)
    return window_series(bars, windows, make_target(target), held.dataset, _thin(folds[fold], windows))


def _thin(split: Split, windows: Windows) -> Split:
    return replace(split, train=split.train[:: windows.stride])


def _tensors_of(data: WindowedSeries) -> Arrays:
    return {
        "series": data.series.numpy(),
        "labels": data.labels.numpy(),
        "unchanged": data.unchanged,
        **{f"feature_{name}": value for name, value in vars(data.feature_scaler).items()},
        **{f"label_{name}": value for name, value in vars(data.label_scaler).items()},
    }


def _series_of(
    found: Mapping[str, Tensor], held: Held, windows: Windows, target: TargetConfig, fold: int
) -> WindowedSeries:
    bars, folds = _read_series(held)
    data = WindowedSeries(
        series=found["series"],
        labels=found["labels"],
        bars=columns_of(bars),
        timestamps=bars["timestamp"].dt.tz_convert(None).to_numpy(),
        split=_thin(folds[fold], windows),
        feature_scaler=Scaler(found["feature_center"].numpy(), found["feature_scale"].numpy()),
        label_scaler=Scaler(found["label_center"].numpy(), found["label_scale"].numpy()),
        lookback=windows.lookback,
        horizons=windows.horizons,
        features=windows.features,
        target=make_target(target),
    )
    vars(data)["unchanged"] = found["unchanged"].numpy()
    return data


def _pack(bars: pd.DataFrame, folds: Sequence[Split]) -> Arrays:
    arrays: Arrays = dict(columns_of(bars))
    stamps = bars["timestamp"].dt.tz_convert(None).to_numpy().astype("datetime64[ns]", copy=False)
    arrays["timestamp"] = stamps.view(np.int64)
    for number, fold in enumerate(folds):
        arrays[f"train {number}"], arrays[f"validation {number}"] = fold.train, fold.validation
        arrays[f"train_rows {number}"] = np.array([fold.train_rows])
    return {name: np.ascontiguousarray(array) for name, array in arrays.items()}


def _unpack(found: Mapping[str, Tensor], folds: int) -> Series:
    arrays = {name: tensor.numpy() for name, tensor in found.items()}
    stamps = pd.DatetimeIndex(arrays["timestamp"].view("datetime64[ns]"), tz="UTC", copy=False)
    columns = {name: arrays[name] for name in NUMERIC if name in arrays}
    nothing: NDArray[np.int64] = np.empty(0, dtype=np.int64)
    splits = (
        Split(arrays[f"train {k}"], arrays[f"validation {k}"], nothing, int(arrays[f"train_rows {k}"][0]))
        for k in range(folds)
    )
    return Series(pd.DataFrame({"timestamp": stamps, **columns}, copy=False), tuple(splits))


def _digest(arrays: Arrays) -> str:
    digest = hashlib.sha256()
    for name, array in arrays.items():
        digest.update(f"{name} {array.dtype} {array.shape} ".encode())
        digest.update(array.data)
    return digest.hexdigest()


def _map(path: Path, digest: str) -> dict[str, Tensor] | None:
    """Tensors of a file without reading it: pages come as they are touched, shared by all who map it; writes stay private.

    None if there is no such file, or it isn't whole, or another's.
    """
    try:
        with safe_open(path, framework="pt") as file:
            if (file.metadata() or {}).get("digest") != digest:
                return None
            return {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - it isn't a dict
    except (OSError, SafetensorError):
        return None


def _write(arrays: Arrays, path: Path, digest: str) -> None:
    with replacing(path) as temporary:
        save_file(arrays, temporary, metadata={"digest": digest})


def _forget_unused(mine: Path) -> None:
    mine.touch()
    now = mine.stat().st_mtime
    for bars in mine.parent.glob(f"*/{_BARS}"):
        if now - bars.parent.stat().st_mtime > _FORGOTTEN_AFTER_S:
            shutil.rmtree(bars.parent, ignore_errors=True)
