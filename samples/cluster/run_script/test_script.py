"""The script that the sample runs: it says where it is, and with what."""

import os
import sys
from pathlib import Path

if __name__ == "__main__":
    words = " ".join(sys.argv[1:]) or "nobody"
    print(f"hello {words}, from {Path(__file__).name} with Python {sys.version_info.major}")
    print(f"variables of the worker seen: {'NOT_FOR_JOBS' in os.environ}", file=sys.stderr)
