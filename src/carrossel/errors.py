"""What a user can cause and mend. Each message names the value, what was expected and what to do next."""


class CarrosselError(Exception):
    """Root of the family: a stage prints it as one line and exits with 1."""


class ConfigError(CarrosselError):
    """A key or value in params.yaml isn't allowed."""


class UnknownKind(ConfigError):
    """A `kind` names no source, target or cell."""


class SourceError(CarrosselError):
    """A source couldn't deliver: file missing, empty, truncated or not understood."""


class BarsError(CarrosselError):
    """Bars break the contract of a price series and no stated rule repairs them."""


class SeriesTooShort(CarrosselError):
    """A series has fewer bars than windows or splits need."""


class ModelError(CarrosselError):
    """A stored model is missing, incomplete or not what its manifest says."""


class TrainingError(CarrosselError):
    """A training can't go on: the loss isn't finite, or another process trains the same thing."""


class TrackingError(CarrosselError):
    """The MLflow server can't be reached or refuses."""


class StoreError(CarrosselError):
    """The database of ledger and predictions can't be reached or refuses."""


class ServingError(CarrosselError):
    """A server can't start, or a request asks for what can't be answered."""


class Busy(CarrosselError):
    """Another process does what only one may do at a time."""


class RetrainingError(CarrosselError):
    """A retraining ended before its decision; the champion is as before."""


class ChampionError(CarrosselError):
    """No version can take the champion's place as was asked."""


class LabError(CarrosselError):
    """A result of the cell lab is missing or can't be read."""


class StudyError(CarrosselError):
    """A study is missing, can't be stored or has nothing to say yet."""
