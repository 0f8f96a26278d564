"""Presets of whole runs: one a file, a literal card each, for any data and any method."""
