"""Data sets that come with mstedge."""
