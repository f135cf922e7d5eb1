"""Published networks, as the benchmarks describe them."""

from benchmarks import published
from micronas.graph.ir import Graph

NETWORKS: dict[str, Graph] = {name: network.graph for name, network in published.NETWORKS.items()}
