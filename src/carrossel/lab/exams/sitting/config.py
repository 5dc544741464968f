"""Section `lab.exams` of params.yaml, and where the lab's tasks run."""

from __future__ import annotations

from typing import Any

from pydantic import ConfigDict, Field

from carrossel.config import Section


class Candidate(Section):
    """A cell that sits the exams; keys besides these are the cell's own."""

    model_config = ConfigDict(frozen=True, extra="allow", protected_namespaces=())

    cell: str = Field(description="Its kind: a file in src/carrossel/cells.")
    chrono: bool = Field(default=False, description="Chrono initialisation: chrono_t_max is the exam's length.")


class Exams(Section):
    """Who sits which exams, and how often."""

    candidates: dict[str, Candidate] = Field(min_length=1, description="What sits the exams, by name.")
    papers: dict[str, dict[str, Any]] = Field(
        min_length=1, description="Which exams, by their files in src/carrossel/lab/exams, each with its own keys."
    )
    seeds: int = Field(1, ge=1, description="Seeds 1 … k: each candidate sits each exam so many times.")


class Workers(Section):
    """Where tasks run."""

    workers: int = Field(2, ge=1, description="Where scheduler is null: local processes, of one thread each.")
    scheduler: str | None = Field(
        None,
        pattern=r"^(tcp|tls)://[^\s/]+:\d+$",
        description="Address of a running Dask scheduler, such as tcp://10.0.0.5:8786; null: processes on this machine.",
    )
