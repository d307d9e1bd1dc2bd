"""Building TensorRT engines on the device that runs them."""
