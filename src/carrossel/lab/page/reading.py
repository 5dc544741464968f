"""What the page is made from: tables of trained models, the exams' tables, the evaluation; read and checked, no weights."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from carrossel.diagnostics.curves import Fading, carrier, fading
from carrossel.errors import LabError, ModelError

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable
    from pathlib import Path

    from numpy.typing import NDArray

    from carrossel.errors import CarrosselError


@dataclass(frozen=True)
class Gate:
    """D6 of one gate, mean over its units.

    Attributes:
        shut: fraction of steps and sequences below 0.1.
        opened: fraction above 0.9.
    """

    shut: float
    opened: float


@dataclass(frozen=True)
class Network:
    """What a training measured of one network at the epoch whose weights were kept, in its lowest layer.

    Attributes:
        name: the competitor's.
        kind: the cell's.
        parameters: how many were trained.
        state: what `gradient` is by: the memory C of cells that have one, else h.
        gradient: D1 by lag from 0.
        kept: D8 by lag from 0; None for a cell that keeps nothing, or if it wasn't measured.
        sensitivity: D2 by lag from 0; None if it wasn't measured.
        gates: D6 by the gate's name; None if it wasn't measured, empty for a cell without gates.
        radius: D5, the largest spectral radius of a gate's recurrent weights; None for a cell without.
    """

    name: str
    kind: str
    parameters: int
    state: Literal["h", "C"]
    gradient: NDArray[np.float64]
    kept: NDArray[np.float64] | None = None
    sensitivity: NDArray[np.float64] | None = None
    gates: dict[str, Gate] | None = None
    radius: float | None = None

    @property
    def fading(self) -> Fading:
        """Slope, half-life and memory of `gradient`."""
        return fading(self.gradient)

    @property
    def shares(self) -> NDArray[np.float64]:
        """`gradient` as shares of lag 0; all zero where nothing arrives there."""
        first = self.gradient[0]
        return self.gradient / first if first > 0 else np.zeros_like(self.gradient)


@dataclass(frozen=True)
class Findings:
    """What there is of one dataset.

    Attributes:
        dataset: what the networks were trained on.
        networks: longest memory first.
        evaluation: `reports/evaluation/D.json`.
    """

    dataset: str
    networks: list[Network]
    evaluation: dict[str, Any]

    @property
    def lookback(self) -> int:
        """Bars in a window."""
        return max(len(network.gradient) for network in self.networks)


@dataclass(frozen=True)
class Exams:
    """What the exams left: `results` has a row per candidate, exam, length and seed; `curves` how their scores went."""

    results: pd.DataFrame
    curves: pd.DataFrame


def read_all(main: str, datasets: Iterable[str], root: Path, names: Collection[str]) -> list[Findings]:
    """Read `main`, then every other dataset that has been trained and evaluated.

    Args:
        main: the dataset that is looked at closely: it has to be there.
        datasets: all there are.
        root: the project's folder.
        names: networks to look for in `models/D`; those that aren't there are left out.

    Raises:
        ModelError: if no network of `main` was trained, a table is broken, or an evaluation is missing.
    """
    others = [
        name
        for name in datasets
        if name != main and any((root / "models" / name / one / "manifest.json").is_file() for one in names)
    ]
    return [read_findings(name, root, names) for name in (main, *others)]


def read_findings(dataset: str, root: Path, names: Collection[str]) -> Findings:
    """Read one dataset's models and evaluation; see `read_all`."""
    networks = read_networks(root / "models" / dataset, names)
    return Findings(dataset, networks, _read_evaluation(root / "reports" / "evaluation" / f"{dataset}.json"))


def read_exams(folder: Path) -> Exams:
    """Read `exams.csv` and `exam_curves.csv`.

    Args:
        folder: `reports/lab`.

    Raises:
        LabError: if exams weren't taken, or a table is broken.
    """
    return Exams(
        _read_lab_table(folder / "exams.csv", ("candidate", "cell", "exam", "length", "seed", "solved")),
        _read_lab_table(folder / "exam_curves.csv", ("candidate", "exam", "length")),
    )


def read_inside(folder: Path) -> dict[str, bytes]:
    """A picture of `units/`, of what units follow most closely beyond chance, and the first one of `text/`.

    Args:
        folder: `reports/lab`.

    Raises:
        LabError: if one of the two pages is missing.
    """
    found = {}
    for part in ("units", "text"):
        page = folder / part / f"{part}.html"
        if not page.is_file():
            raise LabError(f"{page} doesn't exist. Run: dvc repro {part}")
        pictures = sorted((folder / part).glob("*.png"))
        chosen = folder / part / f"{_followed_best(folder / part / 'ranking.csv')}.png"
        if pictures:
            found[f"inside_{part}"] = (chosen if chosen in pictures else pictures[0]).read_bytes()
    return found


def _followed_best(file: Path) -> str | None:
    """The quantity that some unit follows most closely, less what the best unit does on a shuffled series."""
    if not file.is_file():
        return None
    table = _read_lab_table(file, ("quantity", "correlation", "control"), "units")
    strongest = (
        table.assign(**table[["correlation", "control"]].abs()).groupby("quantity")[["correlation", "control"]].max()
    )
    beyond = (strongest["correlation"] - strongest["control"]).dropna()
    return None if beyond.empty else str(beyond.idxmax())


def read_networks(folder: Path, names: Collection[str]) -> list[Network]:
    """The trained networks of one dataset, longest memory first.

    Args:
        folder: `models/D`.
        names: which sub-folders to look for; those without gradients by lag are left out.

    Raises:
        ModelError: if none is left, or a table is broken.
    """
    folders = [folder / name for name in sorted(names) if (folder / name / "manifest.json").is_file()]
    if not folders:
        raise ModelError(f"{folder} holds no trained network. Run: dvc repro evaluate@{folder.name}")
    found = [network for network in map(_read_network, folders) if network is not None]
    if not found:
        raise ModelError(
            f"{folder} holds no network whose gradients were measured. Set training.diagnose_every = 1 and run: "
            f"dvc repro evaluate@{folder.name}"
        )
    return sorted(found, key=_rank_memory)


def _rank_memory(network: Network) -> tuple[int, float, str]:
    fade = network.fading
    return -fade.memory, -(np.inf if fade.half_life is None else fade.half_life), network.name


def _read_network(folder: Path) -> Network | None:
    manifest = _read_json(folder / "manifest.json")
    best = int(manifest.get("best_epoch", 0))
    gradient = _lowest_layer(_read_table(folder / "gradient_by_lag.csv", ("epoch", "layer", "lag", "h", "c")), best)
    if gradient is None:  # trained with diagnostics off
        return None
    state = carrier(gradient.loc[gradient["lag"].eq(0), "c"])
    return Network(
        name=folder.name,
        kind=str(manifest.get("cell", {}).get("kind", folder.name)),
        parameters=int(manifest.get("parameters", 0)),
        state=state,
        gradient=_by_lag(gradient, "h" if state == "h" else "c"),
        kept=_optional_by_lag(folder / "kept.csv", "kept", best),
        sensitivity=_optional_by_lag(folder / "sensitivity.csv", "norm", best),
        gates=_read_gates(folder / "gates.csv", best),
        radius=_read_radius(folder / "spectrum.csv", best),
    )


def _optional_by_lag(file: Path, column: str, best: int) -> NDArray[np.float64] | None:
    if not file.is_file():  # trained before this was measured
        return None
    rows = _lowest_layer(_read_table(file, ("epoch", "lag", column)), best)
    return None if rows is None else _by_lag(rows, column)


def _read_gates(file: Path, best: int) -> dict[str, Gate] | None:
    if not file.is_file():
        return None
    rows = _lowest_layer(_read_table(file, ("epoch", "layer", "gate", "shut", "open")), best)
    if rows is None:
        return {}
    means = rows.groupby("gate", sort=False)[["shut", "open"]].mean()
    return {str(name): Gate(float(row["shut"]), float(row["open"])) for name, row in means.iterrows()}


def _read_radius(file: Path, best: int) -> float | None:
    if not file.is_file():
        return None
    rows = _lowest_layer(_read_table(file, ("epoch", "layer", "gate", "spectral_radius")), best)
    return None if rows is None else float(rows["spectral_radius"].max())


def _lowest_layer(table: pd.DataFrame, best: int) -> pd.DataFrame | None:
    """Rows of the layer whose error travels furthest, at the epoch kept or the last one measured before it."""
    if table.empty:
        return None
    measured = table["epoch"].unique()
    before = measured[measured <= best]
    rows: pd.DataFrame = table[table["epoch"] == (before.max() if len(before) else measured.min())]
    return rows[rows["layer"] == rows["layer"].min()] if "layer" in rows else rows


def _by_lag(rows: pd.DataFrame, column: str) -> NDArray[np.float64]:
    values: NDArray[np.float64] = rows.sort_values("lag")[column].to_numpy(dtype=np.float64)
    return values


def _read_evaluation(file: Path) -> dict[str, Any]:
    evaluation = _read_json(file)
    if not {"rows", "judgements", "best_by_validation"} <= evaluation.keys():
        raise ModelError(f"{file} isn't an evaluation. Run: dvc repro evaluate@{file.stem}")
    return evaluation


def _read_json(file: Path) -> dict[str, Any]:
    again = f"dvc repro evaluate@{file.stem}" if file.parent.name == "evaluation" else _train(file.parent)
    try:
        values = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"{file} doesn't exist. Run: {again}") from None
    except ValueError as error:
        raise ModelError(f"{file} isn't JSON ({error}). Run: {again}") from None
    if not isinstance(values, dict):
        raise ModelError(f"{file} holds no JSON object. Run: {again}")
    return values


def _read_table(file: Path, columns: Iterable[str]) -> pd.DataFrame:
    return _read_csv(file, columns, ModelError, _train(file.parent))


def _read_lab_table(file: Path, columns: Iterable[str], stage: str = "exams") -> pd.DataFrame:
    return _read_csv(file, columns, LabError, f"dvc repro {stage}")


def _read_csv(file: Path, columns: Iterable[str], error_type: type[CarrosselError], again: str) -> pd.DataFrame:
    try:
        table = pd.read_csv(file)
    except FileNotFoundError:
        raise error_type(f"{file} doesn't exist. Run: {again}") from None
    except ValueError as error:
        raise error_type(f"{file} can't be read ({error}). Run: {again}") from None
    if lacking := set(columns) - set(table):
        raise error_type(f"{file} lacks {', '.join(sorted(lacking))}. Run: {again}")
    return table


def _train(folder: Path) -> str:
    stage = f"tune@{folder.parent.name}" if folder.name == "tuned" else f"train@{folder.parent.name}-{folder.name}"
    return f"dvc repro --force {stage}"
