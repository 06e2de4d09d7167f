"""The one thing that pyproject.toml cannot say yet: the C in ``modelyard.native``, left out where there is no compiler."""

from glob import glob

from setuptools import Extension, setup

setup(
    ext_modules=[
        Extension(
            "modelyard.native._native",
            sources=sorted(glob("src/modelyard/native/*.c")),
            depends=sorted(glob("src/modelyard/native/*.h")),
            extra_compile_args=["-O3", "-std=c11", "-Wall", "-Wextra", "-fvisibility=hidden"],
            optional=True,
        )
    ]
)
