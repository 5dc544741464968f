"""A small walk-forward's sections of params.yaml."""

PARAMS = {
    "datasets": {"walk": {}},
    "windows": {"lookback": 5, "features": ["log_return", "log_range"]},
    "target": {"kind": "log_return"},
    "head": {"kind": "point"},
    "cells": {"rnn": {"hidden_size": 3}},
    "baselines": {"drift": {}, "ar": {"max_lag": 3}, "har": {}},
    "training": {"epochs": 2, "batch_size": 32, "accelerator": "cpu"},
    "walk_forward": {"models": ["rnn", "drift", "ar"], "folds": 2, "seeds": 2},
}
