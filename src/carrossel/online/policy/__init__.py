"""Backtest of retraining policies: how much skill does how much retraining buy?"""
