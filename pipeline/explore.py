"""Stage explore@D: plots and a descriptive table of the canonical bars."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.config import project_root
from carrossel.evaluation.exploration.figures import draw_exploration
from carrossel.evaluation.exploration.statistics import describe
from carrossel.evaluation.figures import save_png
from carrossel.files import replacing_folder
from carrossel.stage import run


def explore(dataset: str) -> None:
    root = project_root()
    bars = read_bars(root / "data" / "bars" / f"{dataset}.parquet")
    with replacing_folder(root / "reports" / "explore" / dataset) as folder:
        describe(bars).to_csv(folder / "describe.csv", index=False, float_format="%.8g")
        for name, figure in draw_exploration(bars, dataset).items():
            save_png(figure, folder / f"{name}.png")


if __name__ == "__main__":
    run(explore, *sys.argv[1:], name="@".join(["explore", *sys.argv[1:]]))
