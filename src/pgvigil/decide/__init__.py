"""Deciding: pure functions from a diagnosis to steps or a reasoned hold."""
