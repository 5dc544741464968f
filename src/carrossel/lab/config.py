"""Section `lab` of params.yaml, whole, for editors and `carrossel check`; each stage reads its own part."""

from __future__ import annotations

from pydantic import Field

from carrossel.lab.exams.sitting.config import Exams, Workers
from carrossel.lab.hochreiter.config import Hochreiter
from carrossel.lab.text.config import Text
from carrossel.lab.units.config import Units


class Lab(Workers):
    """What the cell lab looks at."""

    dataset: str = Field(description="The series whose networks are looked at closely.")
    exams: Exams = Field(description="Memory exams.")
    units: Units = Field(Units.model_validate({}), description="What single units have learnt to look at.")
    text: Text = Field(Text.model_validate({}), description="A small model of characters.")
    hochreiter: Hochreiter = Field(
        Hochreiter(), description="Scaled recurrent weights, and the gradient they let through."
    )
