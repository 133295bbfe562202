"""The launching side: finds MPI, counts cores, builds the mpirun command and watches one run."""
