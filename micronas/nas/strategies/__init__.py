"""Strategies: which networks are trained next, by what earlier trainings told. One file each."""
