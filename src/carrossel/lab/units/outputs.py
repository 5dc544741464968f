"""What the stage leaves: a table, pictures, a page; all of them or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.evaluation.figures import save_png
from carrossel.files import replacing_folder, write_text
from carrossel.lab.units.figures import draw_ranking, draw_unit
from carrossel.lab.units.page import render_units
from carrossel.lab.units.ranking import summarise_ranking

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.lab.units.study import Study


def write_units(folder: Path, study: Study, bars: int) -> None:
    """Write `ranking.csv`, `ranking.png`, the closest follower of each quantity as `<quantity>.png`, and `units.html`.

    Args:
        bars: windows on a picture of one unit.
    """
    with replacing_folder(folder) as temporary:
        study.ranking.to_csv(temporary / "ranking.csv", index=False, float_format="%.6f", lineterminator="\n")
        save_png(draw_ranking(study), temporary / "ranking.png")
        for summary in summarise_ranking(study.ranking):
            save_png(draw_unit(study, summary, bars), temporary / f"{summary.quantity}.png")
        write_text(temporary / "units.html", render_units(study))
