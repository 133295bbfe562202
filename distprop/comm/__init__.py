"""How ranks talk: communicators (serial, threads, MPI), who owns which shard, and the exchange of gradients."""
