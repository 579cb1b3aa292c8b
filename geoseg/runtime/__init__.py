"""Chunks mapped over threads, processes and clusters."""
