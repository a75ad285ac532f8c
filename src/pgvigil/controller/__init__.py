"""The loop that ties observing, judging, deciding, acting and recording together; it owns time."""
