"""What outlines of buildings are straightened with."""
