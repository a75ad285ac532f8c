"""Acting: one kind of step a module, each confirmed at the node right before its effect."""
