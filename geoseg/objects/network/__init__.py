"""What road networks are made with: skeletons, chains of pixels, tracks."""
