"""Instance masks by TensorMask, on any device and with gradients."""
