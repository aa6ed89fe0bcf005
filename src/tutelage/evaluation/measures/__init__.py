"""Measures of a student, those of one kind in a file; each has a line in `tutelage.evaluation`."""
