"""Frozen values shared by all parts. Imports nothing of ours but `errors`; does no I/O."""
