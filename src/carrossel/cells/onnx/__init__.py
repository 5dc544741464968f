"""Cells as ONNX: the native operator where a cell names one, else one Scan over its own step."""
