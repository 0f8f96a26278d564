"""Whole programs that use the watch, short enough to read; each runs as `python -m cggm_core.examples.NAME`.

The app's page Library and the README show their text; tests run them with and without the watch's own lines.
"""
