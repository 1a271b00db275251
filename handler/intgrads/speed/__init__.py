"""What makes a network fast without changing its function, and where and how precisely it computes."""
