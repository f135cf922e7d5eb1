"""Disks that fail at one call: every call that writes, in turn."""
