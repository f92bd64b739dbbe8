"""Which weights are there at the start: at random, by their saliency, by what activations need."""
