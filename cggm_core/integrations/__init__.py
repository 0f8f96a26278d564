"""The watch in other frameworks' own idiom, and readings in other loggers; each needs its package only when used."""
