"""Simulated platforms held against published measurements. See docs/published.md."""
