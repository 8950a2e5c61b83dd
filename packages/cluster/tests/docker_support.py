"""An image for the tests of containers, made of programs of this machine: no registry is asked.

As a script it takes the address of an engine, and says the image's name.
"""

import io
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any
from zlib import crc32

PROGRAMS = (
    *("sh", "cat", "chmod", "cp", "cut", "dd", "echo", "env", "grep", "head", "id", "ls", "mkdir"),
    *("perl", "setsid", "sleep", "tail", "touch", "tr", "true", "wc", "yes"),
)
IMAGE = f"mindtrace-test:programs-{crc32(' '.join(PROGRAMS).encode()):08x}"
"""An engine that stays may have one with other programs."""

MEMORY_HOG = "x=$(yes | head -c 200000000); echo"


# Any: docker-py has no types
def make_image(api: Any) -> str:
    """Import the image into an engine unless it is there, and return its name."""
    if not api.images(name=IMAGE):
        changes = ["ENV PATH=/bin", "WORKDIR /tmp"]
        repository, tag = IMAGE.split(":")
        api.import_image_from_data(_archive(), repository=repository, tag=tag, changes=changes)
    return IMAGE


def _archive() -> bytes:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as archive:
        for name in ("bin", "etc", "tmp", "root"):
            folder = tarfile.TarInfo(name)
            folder.type, folder.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            archive.addfile(folder)
        files: dict[str, Path] = {}
        for program in PROGRAMS:
            found = shutil.which(program)
            assert found is not None, f"there is no program {program} on this machine"
            files[f"bin/{program}"] = Path(found)
            files |= {each.lstrip("/"): Path(each) for each in _libraries(found)}
        for name, path in files.items():
            archive.add(path.resolve(), name)
    return data.getvalue()


def _libraries(program: str) -> list[str]:
    done = subprocess.run(["ldd", program], check=True, capture_output=True, text=True)
    return re.findall(r"(/\S+) \(0x", done.stdout)


if __name__ == "__main__":
    import docker

    untyped: Any = docker.APIClient
    sys.stdout.write(make_image(untyped(base_url=sys.argv[1])))
