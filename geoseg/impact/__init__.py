"""What a flood does: buildings in water, roads cut, places cut off, people, by district."""
