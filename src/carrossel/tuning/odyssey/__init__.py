"""The search-space odyssey: random trials of every cell, and what they tell about cells and hyper-parameters.

References:
    Greff, Srivastava, Koutník, Steunebrink & Schmidhuber (2015), LSTM: a search space odyssey, arXiv:1503.04069.
"""
