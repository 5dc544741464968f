"""All competitors of all datasets side by side.

What `dvc metrics` and `dvc plots` read (`summary`), the figures, and the report (`page`).
"""
