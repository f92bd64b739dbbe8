"""One training loop, and what it needs: configuration, run, evaluation, history, checkpoints."""
