"""Platforms: one module each, behind one Protocol."""
