"""Any result of mstedge as one self-contained HTML file."""
