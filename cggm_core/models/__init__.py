"""Models: one plug-in a file; files with a leading underscore are their shared parts."""
