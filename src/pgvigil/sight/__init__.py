"""Observing: keeps sessions and shells, turns what they say into sightings."""
