"""Stage lab: how error travels back in each cell, what gates do, who remembers how long; leaves reports/lab/lab.html."""

from __future__ import annotations

from carrossel.config import load_params, lookup, project_root
from carrossel.files import replacing, replacing_folder, write_text
from carrossel.lab.exams.figures import draw_exam_curves, draw_exam_table
from carrossel.lab.hochreiter.experiment import measure_exponents, run_experiment
from carrossel.lab.page.config import read_page
from carrossel.lab.page.reading import read_all, read_exams, read_inside
from carrossel.lab.page.rendering import Experiment, render_page
from carrossel.stage import run


def build() -> None:
    """Read models, evaluations and the lab's other results; run Hochreiter's experiment; write the page."""
    root = project_root()
    params = load_params()
    main, hochreiter = read_page(params)
    folder = root / "reports" / "lab"
    names = {*lookup("cells", params), "tuned"}
    findings = read_all(main, lookup("datasets", params), root, names)
    exams, inside = read_exams(folder), read_inside(folder)
    experiment = Experiment(run_experiment(hochreiter), measure_exponents(hochreiter), hochreiter.shown)
    figures = {
        "exam_table": draw_exam_table(exams.results),
        "exam_curves": draw_exam_curves(exams.curves, exams.results),
    }
    page = render_page(findings, exams.results, experiment, figures, inside)
    with replacing(folder / "hochreiter.csv") as temporary:
        experiment.table.to_csv(temporary, index=False)
    with replacing_folder(folder / "figures") as pictures:
        for name, png in page.figures.items():
            (pictures / f"{name}.png").write_bytes(png)
    write_text(folder / "lab.html", page.html)
    for sentence in page.headlines:
        print(sentence)
    print(f"The lab: {folder / 'lab.html'}")


if __name__ == "__main__":
    run(build, name="lab")
