"""Weights by name: their files on this machine, fetched over the network unless they are cached."""
