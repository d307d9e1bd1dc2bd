"""Reading a bundle that may come from a stranger: nothing is opened before it is proved."""
