"""Where runs are recorded: section `tracking` of params.yaml, the environment, and the project's real root."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlsplit

from pydantic import Field

from carrossel.config import Section, load_params, project_root, validate

if TYPE_CHECKING:
    from collections.abc import Mapping

_SECRET_VARIABLES = ("MLFLOW_TRACKING_PASSWORD", "MLFLOW_TRACKING_TOKEN")
_USERINFO = re.compile(r"(?<=://)[^/@\s'\"]+(?=@)")
_SECRET_QUERY = re.compile(r"(?i)\b(password|passwd|pwd|token|secret|sslpassword)=[^&\s'\"]+")


class Tracking(Section):
    """Section `tracking`: which MLflow store or server keeps the runs."""

    uri: str | None = Field(
        default=None,
        min_length=1,
        description="MLflow tracking URI: an http(s) server or a database such as postgresql+psycopg://host/name. "
        "Null: a sqlite file mlflow.db in the project's folder. The variable MLFLOW_TRACKING_URI wins over both; keep "
        "passwords there or in MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, never in params.yaml.",
    )

    def resolve(self, root: Path, environment: Mapping[str, str] = os.environ) -> str:
        """The URI to use: `MLFLOW_TRACKING_URI`, else `uri`, else sqlite at an absolute path under `root`."""
        return environment.get("MLFLOW_TRACKING_URI") or self.uri or f"sqlite:///{root / 'mlflow.db'}"


def read_tracking() -> Tracking:
    """The section as params.yaml has it; its defaults where there is none.

    Raises:
        ConfigError: see `carrossel.config.validate`.
    """
    return validate(load_params().get("tracking"), Tracking, "tracking")


def tracking_root(environment: Mapping[str, str] = os.environ) -> Path:
    """Folder of the run store: `$CARROSSEL_TRACKING_ROOT`, else the project's root.

    DVC runs an experiment of `dvc exp run --temp` or `--queue` in a copy under `.dvc/tmp/exps`, and what is written
    there dies with the copy: the root is then that of the project the copy was made from.
    """
    if given := environment.get("CARROSSEL_TRACKING_ROOT"):
        return Path(given).resolve()
    root = project_root()
    parts = root.parts
    for end in range(1, len(parts) - 2):
        if parts[end : end + 3] == (".dvc", "tmp", "exps"):
            return Path(*parts[:end])
    return root


def redact(text: str, uri: str = "", environment: Mapping[str, str] = os.environ) -> str:
    """The text without credentials: user info and passwords of URIs, of `uri` in particular, and those in variables."""
    secrets = [environment[name] for name in _SECRET_VARIABLES if environment.get(name)]
    try:
        password = urlsplit(uri).password
    except ValueError:
        password = None
    if password:
        secrets += [password, unquote(password)]
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "***")
    return _SECRET_QUERY.sub(r"\1=***", _USERINFO.sub("***", text))
