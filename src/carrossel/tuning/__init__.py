"""Tuning: studies of a recipe's knobs, run on every core or machine at hand, and what they found."""
