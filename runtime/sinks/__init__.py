"""Where answers go: a table, JSON lines, CSV, a function, and pictures of dense answers."""
