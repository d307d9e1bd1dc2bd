"""Networks, behind a registry of names."""
