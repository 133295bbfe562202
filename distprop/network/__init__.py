"""A network as declared layers, its layout in the flat vectors, and the program of kernel calls that it becomes."""
