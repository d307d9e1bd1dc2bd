"""The parity gate: a candidate against the reference's recorded answers, on any device and without torch."""
