"""Other people's weights: whose names a file uses, and which net its tensors are of."""
