"""docs/settings.md agrees with the code: the tables list every setting, and the example is a valid file.

`python -m tests.docs.test_settings` updates the tables.
"""

from __future__ import annotations

import re
from pathlib import Path

from tests.support.source import ROOT
from tintype.cli.settings.definitions import SECTIONS, SHARED, Setting, settings_of
from tintype.cli.settings.file import read_file
from tintype.cli.settings.sources import Sources
from tintype.cli.settings.values import SIZE, format_size
from tintype.gateway.config import GatewayConfig
from tintype.service.config import ServiceConfig

PAGE = ROOT / "docs" / "settings.md"
TABLE = "<!-- {} -->\n{}<!-- end -->"
HEAD = "| in the file | flag | variable | what it is | default |\n|---|---|---|---|---|\n"


def table(section: str) -> str:
    """Return a table of all settings of a section."""
    return HEAD + "".join(map(_row, settings_of(SECTIONS[section]).values()))


def _row(setting: Setting) -> str:
    name = f"`{setting.name}`" + (" *" if setting.name in SHARED else "")
    cells = (name, f"`{setting.flag}`", f"`{setting.env}`", setting.help.replace("|", "\\|"), _default(setting))
    return f"| {' | '.join(cells)} |\n"


def _default(setting: Setting) -> str:
    if setting.name == "data":
        return "`~/.local/share/tintype`"
    if isinstance(setting.default, bool):
        return "on" if setting.default else "off"
    if setting.type is SIZE and isinstance(setting.default, int) and setting.default:
        return format_size(setting.default)
    if isinstance(setting.default, tuple | list):
        return ", ".join(map(str, setting.default)) or "-"
    if isinstance(setting.default, float):
        return format(setting.default, "g")
    return str(setting.default) if setting.default not in (None, "", {}) else "-"


def filled(page: str) -> str:
    """Return the page with current tables."""
    for section in SECTIONS:
        pattern = re.compile(TABLE.format(section, ".*?"), re.DOTALL)
        page = pattern.sub(lambda _, section=section: TABLE.format(section, table(section)), page)  # type: ignore[misc]
    return page


def test_tables() -> None:
    """The tables have one row per setting, with its flag, variable, help and default."""
    page = PAGE.read_text(encoding="utf-8")
    assert all(f"<!-- {section} -->" in page for section in SECTIONS)
    assert page == filled(page), "update it with python -m tests.docs.test_settings"


def test_example(tmp_path: Path) -> None:
    """The example file is valid, and its values are read."""
    (example,) = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "tintype.toml"
    path.write_text(example)
    read = Sources(file=read_file(path))
    service, gateway = read.config(ServiceConfig), read.config(GatewayConfig)
    assert (service.memory, gateway.rest, gateway.data) == (12 * 2**30, "127.0.0.1:8080", Path("/var/lib/tintype"))
    assert gateway.aliases == {"dall-e-3": "sdxl", "my-model": "*"}


if __name__ == "__main__":
    PAGE.write_text(filled(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
