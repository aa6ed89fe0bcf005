"""Tutelage distils machine-learning models: the teacher is a distribution."""
