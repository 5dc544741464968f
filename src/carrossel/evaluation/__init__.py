"""What the forecasts are worth: metrics beside persistence, the exploration of the bars, and the report over all cells.

Everything here reads files, so no stage of this room loads torch.
"""
