"""The controller's durable state."""
