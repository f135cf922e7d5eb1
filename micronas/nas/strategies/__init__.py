"""Strategies: choose the networks to train next from earlier results. One file each."""
