"""How well a student does: held-out text, intervals, comparisons of several students."""
