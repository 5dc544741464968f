"""Model folders as a training leaves them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from evaluation_models import baseline_writer, competitor_writer

from carrossel.evaluation import figures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody looks at a test's pictures, and drawing them large took a minute of every run."""
    monkeypatch.setattr(figures.render_png, "__defaults__", (40,))


@pytest.fixture
def write_competitor(tmp_path: Path) -> Callable[..., Path]:
    return competitor_writer(tmp_path)


@pytest.fixture
def write_baseline(tmp_path: Path) -> Callable[..., Path]:
    return baseline_writer(tmp_path)
