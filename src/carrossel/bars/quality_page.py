"""The quality report as a page that needs nothing but itself."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from carrossel.bars.status import OBSERVED, STATUSES, encode

if TYPE_CHECKING:
    from collections.abc import Mapping

    import pandas as pd

_STRIP_CELLS = 200
_CURVE_POINTS = 400
_CURVE_WIDTH, _CURVE_HEIGHT = 1000, 160


def render(report: Mapping[str, Any], bars: pd.DataFrame) -> str:
    """HTML of a quality report with a coverage strip and the closes; all text from data is escaped.

    Args:
        report: what `prepare` found.
        bars: the canonical bars it is about.
    """
    environment = Environment(
        loader=PackageLoader("carrossel.bars", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["count"] = lambda value: f"{value:,}"
    return environment.get_template("quality_page.html").render(
        report=report,
        strip=coverage(encode(bars["status"])),
        curves=close_curves(bars["close"].to_numpy()),
        width=_CURVE_WIDTH,
        height=_CURVE_HEIGHT,
        lowest=float(np.nanmin(bars["close"])),
        highest=float(np.nanmax(bars["close"])),
    )


def coverage(codes: np.ndarray) -> list[dict[str, Any]]:
    """The series cut into at most 200 equal stretches: the worst status in each, and how much of it was observed."""
    edges = np.linspace(0, len(codes), min(_STRIP_CELLS, len(codes)) + 1).astype(int)
    cells = []
    for first, last in pairwise(edges):
        part = codes[first:last]
        cells.append({"status": STATUSES[part.max()], "observed": float((part == OBSERVED).mean())})
    return cells


def close_curves(closes: np.ndarray) -> list[str]:
    """Points of SVG polylines for the closes, broken where bars are missing."""
    size = len(closes)
    edges = np.unique(np.linspace(0, size - 1, min(_CURVE_POINTS, size)).astype(int))
    low, high = float(np.nanmin(closes)), float(np.nanmax(closes))
    span = (high - low) or 1.0
    curves: list[list[str]] = [[]]
    for i in edges:
        if np.isnan(closes[i]):
            curves.append([])
            continue
        x = _CURVE_WIDTH * i / max(size - 1, 1)
        y = _CURVE_HEIGHT * (1 - (closes[i] - low) / span)
        curves[-1].append(f"{x:.1f},{y:.1f}")
    return [" ".join(points) for points in curves if len(points) > 1]


def summarise(report: Mapping[str, Any]) -> str:
    """One line: bars, span, gaps, and every repair that was needed."""
    bars, gaps = report["bars"], report["gaps"]
    parts = [f"{bars['observed']:,} bars {bars['first']} → {bars['last']} UTC"]
    where = f" in {gaps['missing']:,} gap{'s' if gaps['missing'] != 1 else ''}" if bars["missing"] else ""
    parts.append(f"{bars['missing']:,} missing{where}")
    parts.append(f"{bars['filled']:,} filled")
    if report["left_out"]:
        parts.append(f"{report['left_out']:,} older ones left out")
    found = {finding["check"]: finding for finding in report["findings"] if finding["count"]}
    parts += [f"{finding['title'].lower()}: {finding['count']:,}" for finding in found.values()]
    return ", ".join(parts)
