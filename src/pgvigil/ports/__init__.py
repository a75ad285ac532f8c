"""The only modules that touch the outside. `contract` holds all seams; each has a real and a simulated side."""
