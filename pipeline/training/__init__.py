"""A cell of the grid in, a folder of results out."""
