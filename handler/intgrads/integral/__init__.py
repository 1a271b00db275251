"""The integral along a path: its nodes, its error, what groups of features carry of it. Tensors in, tensors out."""
