"""What users write: YAML, checked strictly, turned into `model.spec`."""
