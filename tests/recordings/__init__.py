"""Recordings of real faults, on real servers: what was seen then must be decided the same for ever."""
