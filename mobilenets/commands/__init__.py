"""The commands: one module each, which reads as its table of contents."""
