"""What labels of instances are made with, whatever the blocks."""
