"""Export tiny pipelines in half precision, for the device tests: `python device_models.py FOLDER [family ...]`.

Existing exports stay. Without names every family is exported. Needs torch.
"""

from __future__ import annotations

import sys
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory

OPTIONS = ("--precision", "fp16", "--target", "gpu", "--no-verify", "--json")


def main(folder: Path, names: list[str]) -> str:
    """Export the families that `folder` lacks; return a line for each family that could not be exported."""
    import torch  # noqa: PLC0415 - without families to export, torch is not needed

    from tintype.export import exporter  # noqa: PLC0415
    from tintype.export.tiny.pipelines import FAMILIES  # noqa: PLC0415
    from tintype.service.models.families import table  # noqa: PLC0415

    torch.set_num_threads(1)
    exporter.PREVIEW_PIXELS, exporter.PREVIEW_CELLS = 128, 8  # the fit takes a fifth of the time
    for name, family in table.FAMILIES.items():  # images of 1024 x 1024 pixels take ten seconds
        table.FAMILIES[name] = replace(family, native_side=128)
    missing = [name for name in names or FAMILIES if not (folder / name).exists()]
    return "\n".join(f"{name}: {problem}" for name in missing if (problem := export_family(name, folder / name)))


def export_family(name: str, target: Path) -> str:
    """Export a tiny pipeline to `target`; return the last line of the problem, or an empty text."""
    from tintype import export  # noqa: PLC0415
    from tintype.export.tiny.pipelines import write_pipeline  # noqa: PLC0415

    with TemporaryDirectory() as temporary, redirect_stdout(StringIO()), redirect_stderr(StringIO()) as progress:
        try:
            code = export.main([str(write_pipeline(name, Path(temporary))), str(target), *OPTIONS])
        except Exception as error:  # noqa: BLE001 - other families are exported
            return f"{type(error).__name__}: {error}"
    return progress.getvalue().strip().splitlines()[-1] if code else ""


if __name__ == "__main__":
    target, *families = sys.argv[1:]
    missing = [name for name in families if not (Path(target) / name).exists()]
    if missing or not families:
        sys.exit(main(Path(target), missing) or 0)
