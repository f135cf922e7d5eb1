"""Seventy-five networks that people bring to a microcontroller, and what exporters make of them."""
