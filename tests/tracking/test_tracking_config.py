from __future__ import annotations

from pathlib import Path

import pytest

from carrossel.config import validate
from carrossel.errors import ConfigError
from carrossel.tracking.config import Tracking, read_tracking, redact, tracking_root

ROOT = Path("/project")


def test_default_store_is_a_sqlite_file_at_an_absolute_path() -> None:
    assert Tracking().resolve(ROOT, {}) == "sqlite:////project/mlflow.db"


def test_uri_of_params_wins_over_the_default_and_the_environment_over_both() -> None:
    settings = Tracking(uri="http://params:5000")
    assert settings.resolve(ROOT, {}) == "http://params:5000"
    assert settings.resolve(ROOT, {"MLFLOW_TRACKING_URI": "http://environment:5000"}) == "http://environment:5000"


def test_unknown_key_is_an_error_that_names_it() -> None:
    with pytest.raises(ConfigError, match=r"tracking\.url.*allowed keys: uri"):
        validate({"url": "http://x"}, Tracking, "tracking")


def test_a_project_without_the_section_gets_its_defaults() -> None:
    assert read_tracking() == Tracking()


def test_root_is_the_projects_own(tmp_path: Path) -> None:
    assert tracking_root({}) == tmp_path


@pytest.mark.parametrize("copy", [".dvc/tmp/exps/tmpabc", ".dvc/tmp/exps/standalone/tmpabc"])
def test_root_of_dvcs_temporary_copy_is_the_real_project(
    copy: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARROSSEL_ROOT", str(tmp_path / copy))
    assert tracking_root({}) == tmp_path


def test_root_can_be_given(tmp_path: Path) -> None:
    assert tracking_root({"CARROSSEL_TRACKING_ROOT": str(tmp_path / "elsewhere")}) == tmp_path / "elsewhere"


@pytest.mark.parametrize(
    ("text", "uri"),
    [
        ("failed: http://ann:s3cret@host:5000/api", ""),
        ("password authentication failed for s3cret", "postgresql+psycopg2://ann:s3cret@host/db"),
        ("s3cret and s%33cret", "http://ann:s%33cret@host"),
        ("postgresql://host/db?user=ann&password=s3cret", ""),
    ],
)
def test_passwords_are_cut_out_of_messages(text: str, uri: str) -> None:
    cleaned = redact(text, uri, {})
    assert "s3cret" not in cleaned
    assert "s%33cret" not in cleaned
    assert "***" in cleaned


def test_passwords_of_the_environment_are_cut_out_too() -> None:
    assert redact("got hunter2", "", {"MLFLOW_TRACKING_PASSWORD": "hunter2"}) == "got ***"


def test_text_without_credentials_stays_as_it_is() -> None:
    text = "API request to http://host:5000/api/2.0 failed: mail ann@host"
    assert redact(text, "http://host:5000", {}) == text
