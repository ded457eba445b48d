"""Archives of small files, in every format."""

import io
import random
import tarfile
import zipfile
from pathlib import Path

FILES = {
    "Celeb-real/id0_0000.mp4": random.Random(0).randbytes(40_000),
    "Celeb-synthesis/id0_id1_0000.mp4": random.Random(1).randbytes(20_000),
    "List_of_testing_videos.txt": b"1 Celeb-real/id0_0000.mp4\n" * 200,
}
KINDS = ["zip", "tar", "tar.gz", "tar.bz2", "tar.xz"]


def make(path: Path, files: dict[str, bytes] = FILES) -> Path:
    """Write an archive of the format of its name and return its path."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as out:
            for name, content in files.items():
                out.writestr(name, content)
        return path
    mode = path.name.split(".tar")[1].replace(".", ":") or ":"
    with tarfile.open(path, f"w{mode}") as out:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            out.addfile(member, io.BytesIO(content))
    return path


def content(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
