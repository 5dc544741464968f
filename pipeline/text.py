"""text: look inside the units of a small character model; leaves reports/lab/text/."""

from __future__ import annotations

import sys
from functools import partial

from carrossel.config import load_params, project_root
from carrossel.lab.text.config import read_text_section
from carrossel.lab.text.outputs import write_study
from carrossel.lab.text.reading import read_text
from carrossel.lab.text.study import study_text
from carrossel.stage import run


def look() -> None:
    """Read section lab.text; train on the text, look, write."""
    root = project_root()
    config, cell = read_text_section(load_params())
    text, name = read_text(config.file, root, config.longest)
    study = study_text(text, name, config, cell, partial(print, flush=True))
    write_study(root / "reports" / "lab" / "text", study, config.lines)


if __name__ == "__main__":
    run(look, *sys.argv[1:], name="text")
