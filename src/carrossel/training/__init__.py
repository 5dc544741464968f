"""Training: fit a forecaster, watch its gradients, leave a model folder."""
