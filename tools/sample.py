"""Run a sample by its name: `ds sample: index_files [arguments of the sample]`.

Where two folders have one of that name, say which: `cluster/quickstart`. Without a name the main
sample runs, and gets all the arguments.
"""

import os
import sys

from tools.commands import ROOT

MAIN = "index_files"


def main(words: list[str]) -> None:
    """Become the sample."""
    found = sorted(ROOT.glob("samples/*/*.py"))
    samples = {path.stem: path for path in found}
    samples |= {f"{path.parent.name}/{path.stem}": path for path in found}
    name, rest = (words[0], words[1:]) if words and words[0] in samples else (MAIN, words)
    os.execv(sys.executable, [sys.executable, str(samples[name]), *rest])


if __name__ == "__main__":
    main(sys.argv[1:])
