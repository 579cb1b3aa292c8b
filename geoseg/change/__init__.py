"""What changed between two runs of one place: classes, buildings and roads."""
