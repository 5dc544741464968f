"""All sittings that params.yaml asks for."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from carrossel import cells
from carrossel.config import lookup, validate
from carrossel.errors import ConfigError
from carrossel.lab.exams.base import registry
from carrossel.lab.exams.sitting.config import Exams, Workers

if TYPE_CHECKING:
    from carrossel.cells import CellConfig
    from carrossel.lab.exams.base import Exam, ExamConfig
    from carrossel.lab.exams.sitting.config import Candidate


@dataclass(frozen=True)
class Sitting:
    """One candidate in one exam at one length with one seed, as data that travels to a worker."""

    candidate: str
    cell: str
    cell_config: CellConfig
    exam: str
    exam_config: ExamConfig
    length: int
    seed: int

    def __str__(self) -> str:
        return f"{self.candidate} {self.exam} {self.length} seed {self.seed}"

    def open_exam(self) -> Exam:
        """The exam at this length."""
        return registry.load(self.exam)(self.exam_config, self.length)

    def fingerprint(self, code: str) -> str:
        """What a finished sitting belongs to: it may be kept for the same cell, exam, length, seed and code alone.

        What the candidate is called, and which other sittings there are, decides nothing.

        Args:
            code: digest of the source that sittings run through.
        """
        values = [
            self.cell,
            self.cell_config.model_dump(mode="json"),
            self.exam,
            self.exam_config.model_dump(mode="json", exclude={"lengths"}),
            self.length,
            self.seed,
            code,
        ]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


@dataclass(frozen=True)
class Plan:
    """Every sitting, in the order of the table, and where they run."""

    sittings: tuple[Sitting, ...]
    where: Workers


def read_plan(params: dict[str, Any]) -> Plan:
    """What params.yaml asks for.

    Args:
        params: the whole of params.yaml as plain data.

    Raises:
        ConfigError: naming key, value and what is allowed.
    """
    section = lookup("lab", params)
    if not isinstance(section, dict):
        raise ConfigError(f"lab = {section!r}: expected keys such as exams, units and text.")
    exams = validate(lookup("lab.exams", params), Exams, "lab.exams")
    where = validate({key: section[key] for key in Workers.model_fields if key in section}, Workers, "lab")
    papers = {
        kind: validate(values, registry.load(kind).Config, f"lab.exams.papers.{kind}")
        for kind, values in exams.papers.items()
    }
    sittings = tuple(
        Sitting(
            candidate=name,
            cell=candidate.cell,
            cell_config=configure(name, candidate, paper, length),
            exam=kind,
            exam_config=paper,
            length=length,
            seed=seed,
        )
        for name, candidate in exams.candidates.items()
        for kind, paper in papers.items()
        for length in paper.lengths
        for seed in range(1, exams.seeds + 1)
    )
    return Plan(sittings, where)


def configure(name: str, candidate: Candidate, paper: ExamConfig, length: int) -> CellConfig:
    """The candidate's cell as it sits an exam: with the exam's hidden size unless it has its own.

    Raises:
        ConfigError: if the cell doesn't know a key, or can't be initialised chronologically.
    """
    where = f"lab.exams.candidates.{name}"
    model = cells.registry.load(candidate.cell).Config
    values: dict[str, Any] = {"hidden_size": paper.hidden_size, **(candidate.model_extra or {})}
    if candidate.chrono:
        if "chrono_t_max" not in model.model_fields:
            raise ConfigError(
                f"{where}.chrono = True: a {candidate.cell} cell has no chrono_t_max, since nothing in it decides how long it "
                "remembers. Leave chrono out."
            )
        if "chrono_t_max" in values:
            raise ConfigError(f"{where}: chrono sets chrono_t_max to each exam's length; give one of the two.")
        values["chrono_t_max"] = length
    return validate(values, model, where)
