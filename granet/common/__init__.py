"""What is needed everywhere and says nothing of sparsity: seeds, points in time, files, progress, processes."""
