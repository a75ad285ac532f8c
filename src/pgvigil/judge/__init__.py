"""Judging: pure functions from a view to findings, one problem a module."""
