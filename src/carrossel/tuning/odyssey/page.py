"""An odyssey's report: tables, figures, and one HTML file that needs nothing else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pandas as pd

from carrossel.evaluation.comparison.formats import DASH, number, p_value, percent
from carrossel.evaluation.figures import render_png
from carrossel.evaluation.layout import embed, render_html
from carrossel.files import replacing, replacing_folder, write_text
from carrossel.tuning.odyssey.figures import draw_distributions, draw_interplay, draw_marginals, draw_shares
from carrossel.tuning.odyssey.statistics import compare, complete, order_cells, summarise
from carrossel.tuning.odyssey.words import (
    foretells,
    say_key,
    tell_ablations,
    tell_best,
    tell_best_values,
    tell_differences,
    tell_variance,
)
from carrossel.tuning.variance import explain, make_axes

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from carrossel.recorder import Recorder
    from carrossel.tuning.odyssey.config import Odyssey
    from carrossel.tuning.variance import Explained

_DPI = 120
_ALL = "all"


@dataclass(frozen=True)
class Report:
    """What the stage writes.

    Attributes:
        html: the page, images inlined.
        figures: PNG bytes by file name without suffix.
        headlines: the answer, a sentence per question.
    """

    cells: pd.DataFrame
    variance: pd.DataFrame
    html: str
    figures: dict[str, bytes]
    headlines: list[str]


def make_report(trials: pd.DataFrame, config: Odyssey) -> Report:
    """Test, explain, draw and tell; the same for the same trials.

    Args:
        trials: as `running.read_trials` gives them, every cell with a complete one.
        config: what was asked.
    """
    names, axes = order_cells(trials), make_axes(config.space)
    done = complete(trials)
    tests = [compare(trials, config.compared_with, of) for of in ("best tenth", "all trials")]
    comparisons = [test for test in tests if test is not None]
    whole = explain(done, axes, None, config.seed)
    own = [explain(done, axes, cell, config.seed) for cell in names] if len(names) > 1 else []
    explained = [found for found in (whole, *own) if found is not None]
    drawn = {
        "distributions": draw_distributions(trials, comparisons[0] if comparisons else None, config.compared_with),
        "shares": draw_shares(explained, axes),
        "marginals": draw_marginals(trials, explained, axes),
        "interplay": draw_interplay(trials, whole, axes) if whole else None,
    }
    figures = {name: render_png(figure, _DPI) for name, figure in drawn.items() if figure is not None}
    variance = tell_variance(config, explained)
    differences = tell_differences(config, trials, comparisons)
    ablations = tell_ablations(trials, comparisons[0] if comparisons else None)
    headlines = [variance[0], tell_best(trials), *differences[:2], *ablations]
    table = summarise(trials, comparisons)
    html = render_html(
        "carrossel.tuning.odyssey",
        "odyssey.html",
        {"key": say_key},
        config=config,
        headlines=headlines,
        variance=variance[1:],
        best_values=tell_best_values(whole, axes),
        differences=differences[2:],
        rows=[_print(row) for _, row in table.iterrows()],
        keys=[axis.key for axis in axes],
        shares=[_print_shares(found, [axis.key for axis in axes]) for found in explained],
        failed=_count_failures(trials),
        images={name: embed(png) for name, png in figures.items()},
    )
    return Report(table, tabulate(explained), html, figures, headlines)


def write_report(folder: Path, config: Odyssey, run: Recorder, trials: pd.DataFrame) -> Report:
    """Write tables, figures and page, and count trials in the odyssey's run.

    Args:
        folder: such as reports/odyssey; only the files named here are replaced.
    """
    report = make_report(trials, config)
    for name, table in (("trials", trials), ("cells", report.cells), ("variance", report.variance)):
        with replacing(folder / f"{name}.csv") as temporary:
            table.to_csv(temporary, index=False)
    with replacing_folder(folder / "figures") as pictures:
        for name, png in report.figures.items():
            (pictures / f"{name}.png").write_bytes(png)
    write_text(folder / "odyssey.html", report.html)
    run.metrics(
        {"trials": float(len(complete(trials))), "failed": float((trials["state"] == "failed").sum())}, step=len(trials)
    )
    return report


def tabulate(explained: Sequence[Explained]) -> pd.DataFrame:
    """A row per cell (`all` for all together) and part: `key`, `second` (of a pair), `share`, `spread`, `trust`, `trials`.

    The part without keys is what three and more explain together.
    """
    rows = [
        {
            "cell": found.cell or _ALL,
            "key": share.keys[0] if share.keys else "",
            "second": share.keys[1] if len(share.keys) > 1 else "",
            "share": share.share,
            "spread": share.spread,
            "trust": found.trust,
            "trials": found.trials,
        }
        for found in explained
        for share in (*found.singles, *found.pairs, found.of())
    ]
    return pd.DataFrame(rows, columns=["cell", "key", "second", "share", "spread", "trust", "trials"])


def _print(row: pd.Series[Any]) -> dict[str, str]:
    return {
        "cell": row["cell"],
        "trials": f"{row['trials']}",
        "failed": f"{row['failed']}" if row["failed"] else DASH,
        **{name: percent(row[name], 2, sign=True) for name in ("best", "best_tenth_median", "median")},
        "quartiles": f"{percent(row['lower_quartile'], 1, sign=True)} … {percent(row['upper_quartile'], 1, sign=True)}",
        "parameters": number(row["best_tenth_parameters"], 0),
        "seconds": number(row["seconds"], 1),
        **{name: p_value(None if pd.isna(row[name]) else row[name]) for name in ("p_best_tenth", "p_all_trials")},
    }


def _print_shares(found: Explained, keys: Sequence[str]) -> dict[str, Any]:
    pair = found.pairs[0] if found.pairs else None
    return {
        "cell": found.cell or "all cells",
        "trials": found.trials,
        "trust": number(found.trust, 2),
        "sure": foretells(found),
        "singles": [percent(found.of(key).share, 0) for key in keys],
        "by_cell": percent(found.of("cell").share, 0) if any(s.keys == ("cell",) for s in found.shares) else DASH,
        "pairs": percent(sum(share.share for share in found.pairs), 0),
        "strongest": f"{' × '.join(map(say_key, pair.keys))}, {percent(pair.share, 1)}" if pair else DASH,
        "rest": percent(found.of().share, 0),
    }


def _count_failures(trials: pd.DataFrame) -> list[str]:
    failed = trials[trials["state"] == "failed"]
    return [
        f"{cell}: {len(own)}, the last: {own['reason'].iloc[-1]}" for cell, own in failed.groupby("cell", sort=False)
    ]
