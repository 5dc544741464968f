"""Walk-forward: refit fold by fold on what was known then, forecast what came next; folds run side by side on Dask."""
