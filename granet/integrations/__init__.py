"""The two calls of a Sparsifier in other people's training loops. Nothing here is imported unless it is asked for."""
