"""params.yaml: its schema, its file, what its sections mean in a run, and what can be checked before any work."""
