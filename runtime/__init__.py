"""What runs on a device: numpy and one inference engine, never torch."""
