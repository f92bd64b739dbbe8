"""cuBLAS repeats itself only with a workspace of its own, which has to be asked for before its first use."""

import os

os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
