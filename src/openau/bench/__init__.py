"""Timings on this machine, printed by `openau bench`."""
