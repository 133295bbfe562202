"""Data: readers for files, preparation into memory-mapped arrays, and the data sets that training reads."""
