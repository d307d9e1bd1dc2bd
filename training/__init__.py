"""Training: data, networks, the three stages of MST-Distill, baselines. Needs torch."""
