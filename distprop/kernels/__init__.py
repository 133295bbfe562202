"""Compiled kernels: arrays in, arrays out. Outputs come first, then inputs, then sizes. No allocation, I/O or MPI."""
