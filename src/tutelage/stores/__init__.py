"""Distributions outside the memory of a process: as named tensors, on disk, over a wire."""
