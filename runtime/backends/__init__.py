"""Inference engines behind one protocol: a table from name to backend, one file per engine."""
