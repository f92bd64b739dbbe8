"""granet in the loops that people have: each module runs on a CPU in under a minute, and downloads nothing."""
