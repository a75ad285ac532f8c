"""Messages to people: who gets which event, when, in which words, and how it is sent."""
