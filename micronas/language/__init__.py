"""Endpoints, embedders, nearest-neighbour votes, intervals and JSON lines for router and judge."""
