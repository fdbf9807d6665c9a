"""What pyproject.toml can't say: the wheel carries what the Lambda functions are made of, as files of the package."""

from __future__ import annotations

import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

ROOT = Path(__file__).resolve().parent


class BuildWithFunctions(build_py):
    """Copies `functions/` and the lock of its packages to where `aurora_migrations/project.py` looks for them."""

    def run(self) -> None:
        if self.editable_mode:
            super().run()
            return  # an editable install finds them in the checkout
        package = Path(self.build_lib) / "aurora_migrations"
        shutil.rmtree(package, ignore_errors=True)  # what an earlier build left, modules that are gone among it
        super().run()
        shutil.copytree(ROOT / "functions", package / "functions", ignore=shutil.ignore_patterns("__pycache__", ".*"))
        shutil.copyfile(ROOT / "requirements" / "lambda.txt", package / "lambda.txt")


setup(cmdclass={"build_py": BuildWithFunctions})
