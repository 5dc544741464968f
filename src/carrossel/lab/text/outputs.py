"""What the stage leaves: a picture and a page; both or none."""

from __future__ import annotations

from typing import TYPE_CHECKING

from carrossel.evaluation.figures import save_png
from carrossel.files import replacing_folder, write_text
from carrossel.lab.text.figures import draw_text
from carrossel.lab.text.page import render_text

if TYPE_CHECKING:
    from pathlib import Path

    from carrossel.lab.text.study import TextStudy


def write_study(folder: Path, study: TextStudy, lines: int) -> None:
    """Write `text.png`, the first lines in one unit's colours, and `text.html`.

    Args:
        lines: of the text, on the picture.
    """
    with replacing_folder(folder) as temporary:
        save_png(draw_text(study, study.first_unit, lines), temporary / "text.png")
        write_text(temporary / "text.html", render_text(study))
