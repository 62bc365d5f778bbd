"""A name of weights -> files on this machine, over the network where they are not cached."""
