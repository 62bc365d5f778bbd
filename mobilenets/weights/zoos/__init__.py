"""Weights of other projects: whose names a file uses, and which net it holds."""
