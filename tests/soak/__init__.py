"""Faults drawn at random for as long as wanted, on real hosts and servers, under writers on every side.

`python -m tests.soak --minutes 30`, or `make soak MINUTES=30`. `kinds` says what is broken, `scene` where,
`checker` what must be true afterwards, `report` what people read.
"""
