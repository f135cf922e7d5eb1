"""The experts behind one OpenAI-compatible address: ``micronas router serve config.yaml``."""
