"""Formats: one file a form in which people pass data around; what is read from a path."""
