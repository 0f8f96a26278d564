"""Pure tensor functions: the one definition of everything that is measured."""
