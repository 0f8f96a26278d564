"""Data sets: one plug-in a file; files with a leading underscore are their shared helpers."""
