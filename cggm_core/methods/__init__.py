"""Balancing methods: one file each."""
