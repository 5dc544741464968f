"""Models in use: the champion and its ledger, retraining, the loop over new bars, serving."""
