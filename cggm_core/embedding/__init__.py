"""Gradient maps, and the numbers without which a map proves nothing."""
