"""Machines that are not here: mapping toolchain, analytical model and step simulator of each."""
