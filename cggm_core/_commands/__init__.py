"""The commands, a file each: `add(listed, common)` declares the flags, `run(given)` does it.

`run` returns the exit code. What is heavy is imported inside it, so that `--help` and lists answer at once.
"""
