"""Diagnostics: one file each; each only looks."""
