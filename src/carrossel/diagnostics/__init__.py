"""How gradients and weights behave in training: numbers in `quantities`, plots of them in `figures`."""
