"""The documentation site: it builds without a broken link, and its pages load nothing from another host."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tools.documents import ROOT

LOADED = re.compile(r"<(?:script|img|link|iframe|source)\b[^>]*?\b(?:src|href)=\"?([^\s\">]+)")


def build(config: Path, site: Path) -> subprocess.CompletedProcess[str]:
    """As `make docs` does: without --quiet, which would also hide warnings from --strict."""
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--config-file", config, "--site-dir", site]
    return subprocess.run(command, env={**os.environ, "NO_MKDOCS_2_WARNING": "1"}, capture_output=True, text=True)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = build(ROOT / "mkdocs.yml", folder)
    assert done.returncode == 0, done.stderr
    return folder


def test_every_page_is_on_the_site(site: Path) -> None:
    pages = [path.relative_to(ROOT / "docs") for path in (ROOT / "docs").rglob("*.md")]
    names = {path.with_name("index.html" if path.stem == "README" else f"{path.stem}.html") for path in pages}
    assert len(names) > 40
    assert [name for name in names if not (site / name).is_file()] == []


def test_no_page_loads_anything_from_another_host(site: Path) -> None:
    found = {path: LOADED.findall(path.read_text("utf-8")) for path in site.rglob("*.html")}
    assert sum(map(len, found.values())) > 100
    assert {link for links in found.values() for link in links if re.match(r"\w+:|//", link)} == set()


def test_every_page_with_a_diagram_loads_mermaid(site: Path) -> None:
    pages = {path: text for path in site.rglob("*.html") if 'class="mermaid"' in (text := path.read_text("utf-8"))}
    assert len(pages) > 4
    for path, text in pages.items():
        (script,) = [link for link in LOADED.findall(text) if link.endswith("mermaid.min.js")]
        assert (path.parent / script).stat().st_size > 1_000_000, path


def test_broken_links_fail_the_build(tmp_path: Path) -> None:
    for name in ("docs", "tools/documents"):
        shutil.copytree(ROOT / name, tmp_path / name)
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    with (tmp_path / "docs" / "index.md").open("a", encoding="utf-8") as page:
        page.write("\n[no page](nowhere.md), [no anchor](reference/errors.md#nowhere), [no file](../nowhere.py)\n")
    done = build(tmp_path / "mkdocs.yml", tmp_path / "site")
    assert done.returncode == 1
    for link in ("nowhere.md", "reference/errors.md#nowhere", "../nowhere.py"):
        assert f"'{link}'" in done.stderr, done.stderr
