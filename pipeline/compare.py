"""Stage compare: all datasets and competitors on one page, and the tables that `dvc metrics` and `dvc plots` read."""

from __future__ import annotations

from carrossel.config import load_params, lookup, project_root
from carrossel.evaluation.comparison.contest import read_contest
from carrossel.evaluation.comparison.figures import draw_gradients, draw_skill
from carrossel.evaluation.comparison.lab.figures import draw_lab
from carrossel.evaluation.comparison.page import render_report
from carrossel.evaluation.comparison.summary import collect_metrics, tabulate_plots
from carrossel.evaluation.figures import save_png
from carrossel.files import replacing_folder, write_json, write_text
from carrossel.stage import run


def compare() -> None:
    root = project_root()
    models, reports = root / "models", root / "reports"
    params = load_params()
    names = {*lookup("cells", params), "tuned", *(params.get("baselines") or {})}
    contests = [read_contest(dataset, models, reports, names) for dataset in lookup("datasets", params)]
    page = render_report(contests)
    with replacing_folder(reports / "plots") as folder:
        for name, table in tabulate_plots(contests).items():
            table.to_csv(folder / f"{name}.csv", index=False)
        for contest in contests:
            for when, figure in draw_gradients(contest).items():
                save_png(figure, folder / f"gradient_by_lag_{contest.dataset}_{when}_epoch.png")
            for name, figure in draw_lab(contest.memories, contest.dataset).items():
                save_png(figure, folder / f"cell_lab_{name}_{contest.dataset}.png")
    save_png(draw_skill(contests), reports / "skill.png")
    write_json(root / "metrics.json", collect_metrics(contests))
    write_text(reports / "report.html", page)
    for contest in contests:
        print(contest.evaluation["verdict"])
    print(f"Report: {reports / 'report.html'}")


if __name__ == "__main__":
    run(compare, name="compare")
