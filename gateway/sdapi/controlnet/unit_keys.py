"""Keys of units that the ControlNet extension does not have; responses report them as ignored.

Source: sd-webui-controlnet, `internal_controlnet/args.py`, with the older names of its fields, and Forge's
`ControlNetUnit`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .units import ARGS, SCRIPT, UnitRequest

if TYPE_CHECKING:
    from collections.abc import Mapping

# Fields of a unit that have no effect here: of preprocessors, of the web UI's pages, and of memory.
_WITHOUT_EFFECT = {
    "animatediff_batch",
    "batch_image_dir",
    "batch_image_files",
    "batch_images",
    "batch_input_gallery",
    "batch_keyframe_idx",
    "batch_mask_dir",
    "batch_mask_gallery",
    "batch_modifiers",
    "generated_image",
    "guessmode",
    "image_fg",
    "inpaint_crop_input_image",
    "input_mode",
    "invert_image",
    "is_ui",
    "low_vram",
    "lowvram",
    "mask_image_fg",
    "output_dir",
    "pixel_perfect",
    "processor_res",
    "pulid_mode",
    "rgbbgr_mode",
    "save_detected_map",
    "threshold_a",
    "threshold_b",
    "use_preview_as_input",
}
_KNOWN = _WITHOUT_EFFECT | set(UnitRequest.__struct_fields__)


def unknown_unit_keys(scripts: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Return the unknown keys of a valid request's enabled units, without those that are null."""
    units = [
        unit
        for name, script in (scripts or {}).items()
        if name.lower() == SCRIPT
        for unit in script["args"]
        if unit is not None
    ]
    return tuple(
        f"{ARGS}[{index}].{key}"
        for index, unit in enumerate(units)
        if unit.get("enabled") is not False
        for key, value in unit.items()
        if key not in _KNOWN and value is not None
    )
