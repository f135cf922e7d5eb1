"""Serve experts at one OpenAI-compatible address: ``micronas router serve config.yaml``."""
