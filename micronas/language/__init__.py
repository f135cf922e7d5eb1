"""Endpoints, embedders, votes of neighbours, intervals and JSON lines, for router and judge."""
