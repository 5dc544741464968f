"""Which code made a result."""

from __future__ import annotations

import subprocess

from carrossel.config import project_root


def code_revision() -> str:
    """Commit of the working tree, with `-dirty` if what computes results differs from it; `unknown` outside git."""

    def git(*arguments: str) -> str:
        done = subprocess.run(
            ["git", *arguments], cwd=project_root(), capture_output=True, text=True, check=True, timeout=10
        )
        return done.stdout.strip()

    try:
        commit = git("rev-parse", "HEAD")
        changed = git("status", "--porcelain", "--", "src", "pipeline", "params.yaml", "dvc.yaml")
    except (OSError, subprocess.SubprocessError):
        return "unknown"
    return commit + ("-dirty" if changed else "")
