"""Fitting: layer tables in, a platform model out. Never touches a device."""
