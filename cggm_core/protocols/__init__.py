"""Contracts of the training wing."""
