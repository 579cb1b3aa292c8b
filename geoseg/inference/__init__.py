"""From a plan to chunks: what is chosen, how tiles become batches, what a worker does."""
