"""A user's own network as a search space."""

from micronas.nas.convert.space import SHARES, ConvertedSpace, NarrowedNetwork, convert

__all__ = ["SHARES", "ConvertedSpace", "NarrowedNetwork", "convert"]
