"""units: look inside the units of a small network, over the test part of one dataset; leaves reports/lab/units/."""

from __future__ import annotations

import sys

from carrossel.bars.store import read_bars
from carrossel.config import load_params, project_root
from carrossel.lab.units.config import read_units
from carrossel.lab.units.outputs import write_units
from carrossel.lab.units.study import study_units
from carrossel.stage import run


def look() -> None:
    """Read section lab.units, lab.dataset and the dataset's windows; train, look, write."""
    root = project_root()
    config, recipe = read_units(load_params())
    bars = read_bars(root / "data" / "bars" / f"{recipe.dataset}.parquet")
    write_units(root / "reports" / "lab" / "units", study_units(bars, recipe), config.bars)


if __name__ == "__main__":
    run(look, *sys.argv[1:], name="units")
