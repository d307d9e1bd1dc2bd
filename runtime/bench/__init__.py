"""Measuring a bundle on this machine.

`timing` is the core with an injected clock, `figures` turns nanoseconds into figures and notes, `run` measures a
bundle. Nothing is imported here: the first two need neither numpy nor an engine.
"""
