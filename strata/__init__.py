"""Strata: how long a neural network takes on an edge accelerator, before anyone compiles it."""
