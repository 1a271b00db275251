"""TensorMask: the objects of a picture, for whoever wants them, and its detections as a kind of input."""
