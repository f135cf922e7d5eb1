"""The version, read by packaging and the library."""

VERSION = "0.1.0"
