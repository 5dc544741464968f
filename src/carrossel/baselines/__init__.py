"""Baselines: what a recurrent cell has to beat. One file adds one kind.

Each is fitted on the training windows that the cells see and forecasts the very same origins. Machinery lies in folders:
`tabular` hands flattened windows to scikit-learn, `networks` fits small torch modules,
`stopping` ends a fit early.
"""

from carrossel.baselines.base import Baseline, BaselineConfig, make_baseline, read_baselines, registry

__all__ = ["Baseline", "BaselineConfig", "make_baseline", "read_baselines", "registry"]
