"""What the parts of Starling say to each other. Imports msgspec and nothing of ours."""
