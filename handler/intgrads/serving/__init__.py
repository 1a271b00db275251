"""A TorchServe on this machine: Java for it, its process and its workers."""
