"""Builds the package, offline, by code of its own, which also tells what it saw in the folder that ``look`` names."""

import os
import zipfile

INFORMATION = "shouting-1.0.dist-info"
FILES = {
    f"{INFORMATION}/METADATA": "Metadata-Version: 2.1\nName: shouting\nVersion: 1.0\n",
    f"{INFORMATION}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    f"{INFORMATION}/RECORD": "",
}


def build_wheel(folder, config_settings=None, metadata_directory=None):
    name = "shouting-1.0-py3-none-any.whl"
    with zipfile.ZipFile(os.path.join(folder, name), "w") as archive:
        archive.writestr("shouting.py", f"LOUD, SEEN = '!', {seen()!r}")
        for path, text in FILES.items():
            archive.writestr(path, text)
    return name


def seen():
    if not os.path.exists("look"):
        return []
    with open("look") as file:
        folder = file.read()
    return sorted(os.listdir(folder)) if os.path.isdir(folder) else []
