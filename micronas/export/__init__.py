"""Exporters. Importing this package imports no torch."""
