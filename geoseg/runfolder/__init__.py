"""The folder that a run leaves: whose it is, what it records, what can be told of it."""
