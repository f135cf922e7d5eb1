"""The version, where packaging and the library both read it."""

VERSION = "0.1.0"
