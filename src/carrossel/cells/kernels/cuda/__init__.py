"""The same cells on CUDA: a cell's one text of gate maths, read by Triton, with the loop over time inside one launch.

Importing it imports Triton, which torch brings along where it is built for CUDA on Linux.
"""
