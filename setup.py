"""The one thing that pyproject.toml cannot say yet: the C in ``modelyard.native``, left out where there is no compiler."""

import runpy
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).parent
FOLDER = Path("src/modelyard/native")
digest = runpy.run_path(str(ROOT / FOLDER / "sources.py"))["digest"]


def files(ending: str) -> list[str]:
    """Relative, as setuptools wants them, and in an order that no file system chooses."""
    return sorted(str(FOLDER / path.name) for path in (ROOT / FOLDER).glob(f"*{ending}"))


class Build(build_ext):
    """Begins with nothing: where compiling fails, what an earlier build left in ``build`` would be installed, of other C."""

    def build_extension(self, ext: Extension) -> None:
        Path(self.get_ext_fullpath(ext.name)).unlink(missing_ok=True)
        super().build_extension(ext)


setup(
    cmdclass={"build_ext": Build},
    ext_modules=[
        Extension(
            "modelyard.native._native",
            sources=files(".c"),
            depends=files(".h"),
            define_macros=[("MODELYARD_SOURCES", f'"{digest(ROOT / FOLDER)}"')],
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-fvisibility=hidden"],
            optional=True,
        )
    ],
)
