"""The only modules that touch the outside; `contract` holds all seams on one screen."""
