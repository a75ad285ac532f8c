"""Faces for programs: the Unix socket that the command line uses."""
