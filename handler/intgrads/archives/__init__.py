"""Archives: a checkpoint becomes one, and a worker opens it."""
