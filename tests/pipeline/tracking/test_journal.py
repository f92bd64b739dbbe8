"""The file that training tells MLflow's numbers: a call is written whole or not at all."""

import subprocess
import sys

from pipeline.tracking.journal import Journal

SCRIPT = """
import resource, signal, sys
from pathlib import Path
from pipeline.tracking.journal import Journal
journal = Journal(Path(sys.argv[1]))
journal.begin()
journal.append("open", "")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
size = journal.calls.stat().st_size
resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
try:
    journal.append("metrics", "", values={"loss": 1.0})
except OSError as error:
    print(error.strerror)
resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
journal.append("close", "")
"""


def test_a_disk_that_is_full_for_a_moment_leaves_no_half_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT, str(tmp_path)], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() in ("No space left on device", "File too large")
    assert [call["call"] for call, _ in Journal(tmp_path).after(0)] == ["open", "close"]
