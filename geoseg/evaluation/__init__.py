"""How good a map or a model is, measured against labels."""
