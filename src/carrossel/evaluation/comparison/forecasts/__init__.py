"""Forecasts beside what came: do they look ahead, or do they repeat?"""
