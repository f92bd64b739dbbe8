"""What becomes of a sparse network after training: smaller, packed, in ONNX, and how fast it is."""
