"""What people ask of a walk's columns. Nothing here reads an image."""
