"""Make a small wheel of onnxruntime-gpu, with CUDA kernels for some compute capabilities only.

    python bench/gpu_wheel.py onnxruntime_gpu-1.31.1-cp312-cp312-manylinux_2_28_x86_64.whl OUT --keep 90

OUT gets a wheel of version 1.31.1+sm90. Most of the original is machine code of the CUDA provider, for each compute
capability again (90 is 9.0). That of others becomes zeros, and everything else in the library stays at its place. The
wheel is packed with LZMA, which pip can read. A GPU of another capability then finds no kernels.

`--drop` leaves out files: "onnxruntime/capi/libonnxruntime.so.*" is for programs in other languages than Python.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import struct
import sys
import zipfile
from collections import Counter
from fnmatch import fnmatch
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

LIBRARY = "libonnxruntime_providers_cuda.so"
MAGIC = struct.pack("<I", 0xBA55ED50)  # begins a fat binary: machine code and PTX of one source file
HEADER = struct.Struct("<4sHHQ")  # magic, version, bytes of this header, bytes of the entries
ENTRY = struct.Struct("<HHIQ")  # kind, flags, bytes of this header, bytes of the code
ARCHITECTURE = 28  # offset of the compute capability in an entry's header
PTX, MACHINE_CODE = 1, 2
LARGEST_HEADER = 512  # bytes; a larger one is not that of an entry


class Kernels(NamedTuple):
    """An entry of a fat binary: its kind, its compute capability (90 is 9.0), and the place of its code."""

    kind: int
    capability: int
    start: int
    size: int


def find_kernels(library: bytes | bytearray) -> Iterator[Kernels]:
    """Yield the entries of all fat binaries in a library."""
    at = library.find(MAGIC)
    while at >= 0:
        end = at + len(MAGIC)
        for entry in _entries(library, at):
            yield entry
            end = entry.start + entry.size
        at = library.find(MAGIC, end)


def _entries(library: bytes | bytearray, at: int) -> Iterator[Kernels]:
    """Yield the entries of the fat binary at a place, none if it is not one."""
    if at + HEADER.size > len(library):
        return
    _, _, header, size = HEADER.unpack_from(library, at)
    at, end = at + header, at + header + size
    if header != HEADER.size or end > len(library):
        return
    while at + ARCHITECTURE + 4 <= end:
        kind, _, header, size = ENTRY.unpack_from(library, at)
        if kind not in (PTX, MACHINE_CODE) or not ARCHITECTURE + 4 <= header <= LARGEST_HEADER:
            return
        if at + header + size > end:
            return
        yield Kernels(kind, struct.unpack_from("<I", library, at + ARCHITECTURE)[0], at + header, size)
        at += header + size


def remove_kernels(library: bytearray, keep: Collection[int]) -> Counter[int]:
    """Overwrite machine code of other capabilities than `keep`, and all PTX, with zeros; return the kept bytes.

    Raises:
        ValueError: a capability to keep has no kernels.
    """
    kept: Counter[int] = Counter(dict.fromkeys(keep, 0))
    found = list(find_kernels(library))
    for kind, capability, start, size in found:
        if kind == MACHINE_CODE and capability in keep:
            kept[capability] += size
        else:
            library[start : start + size] = bytes(size)
    if missing := [str(capability) for capability, size in kept.items() if not size]:
        known = sorted({each.capability for each in found if each.kind == MACHINE_CODE})
        raise ValueError(f"--keep must be among {', '.join(map(str, known))}; got {', '.join(missing)}")
    return kept


def slim(wheel: Path, folder: Path, keep: Collection[int], drop: Collection[str] = ()) -> Path:
    """Write the small wheel into `folder`, without files that match a pattern of `drop`, and return its path.

    Raises:
        ValueError: the file has no library of the CUDA provider, or a capability to keep has no kernels.
    """
    name, version, *tags = wheel.name.split("-")
    local = f"{version}+{'.'.join(f'sm{capability}' for capability in sorted(keep))}"
    old, new = f"{name}-{version}.dist-info/", f"{name}-{local}.dist-info/"
    target = folder / "-".join([name, local, *tags])
    rows = []
    with zipfile.ZipFile(wheel) as source, zipfile.ZipFile(target, "w", zipfile.ZIP_LZMA) as made:
        if not any(info.filename.endswith(LIBRARY) for info in source.infolist()):
            raise ValueError(f"{wheel.name} must be a wheel of onnxruntime-gpu for Linux: it has no {LIBRARY}")
        for info in source.infolist():
            if any(fnmatch(info.filename, pattern) for pattern in (f"{old}RECORD", *drop)):
                continue
            content = source.read(info)
            if info.filename.endswith(LIBRARY):
                library = bytearray(content)
                remove_kernels(library, keep)
                content = bytes(library)
            elif info.filename == f"{old}METADATA":
                content = content.replace(f"\nVersion: {version}\n".encode(), f"\nVersion: {local}\n".encode(), 1)
            rows.append(_add(made, info, info.filename.replace(old, new), content))
        record = "".join([*rows, f"{new}RECORD,,\n"])
        made.writestr(f"{new}RECORD", record)
    return target


def _add(made: zipfile.ZipFile, info: zipfile.ZipInfo, name: str, content: bytes) -> str:
    """Add a file with the time and the rights of `info`; return its row of RECORD."""
    entry = zipfile.ZipInfo(name, info.date_time)
    entry.external_attr, entry.compress_type = info.external_attr, zipfile.ZIP_LZMA
    made.writestr(entry, content)
    digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(content)}\n"


def main(arguments: list[str] | None = None) -> int:
    """Make the wheel and print both sizes."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("folder", type=Path, metavar="OUT")
    parser.add_argument("--keep", type=int, nargs="+", required=True, help="compute capabilities: 90 is 9.0")
    parser.add_argument("--drop", nargs="+", default=[], metavar="PATTERN", help="files to leave out")
    args = parser.parse_args(arguments)
    args.folder.mkdir(parents=True, exist_ok=True)
    try:
        made = slim(args.wheel, args.folder, args.keep, args.drop)
    except (ValueError, OSError, zipfile.BadZipFile) as error:
        print(error, file=sys.stderr)
        return 2
    sizes = [path.stat().st_size / 2**20 for path in (args.wheel, made)]
    print(f"{args.wheel.name}: {sizes[0]:.1f} MiB\n{made.name}: {sizes[1]:.1f} MiB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
