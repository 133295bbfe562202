"""Compiled kernels: arrays in, arrays out. Outputs come first, then inputs, then sizes; no allocation, no I/O, no MPI."""
