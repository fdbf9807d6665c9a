"""A hook of MkDocs: diagrams without a network, and links to files outside of docs/.

mkdocs.yml names this file.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from mkdocs.utils import get_relative_url

MERMAID = "assets/mermaid.min.js"
_LINK = re.compile(r"(?<!!)\[([^\[\]]+)\]\((?!https?:|#)([^)#\s]+)(?:#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    """Adds the JavaScript of Mermaid, which the package mermaidx contains. The package isn't imported."""
    package = find_spec("mermaidx")
    assert package is not None, "mermaidx isn't installed: `make docs` installs it"
    assert package.origin is not None
    script = Path(package.origin).parent / "assets" / "mermaid.js"
    files.append(File.generated(config, MERMAID, abs_src_path=str(script)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, **_: Any) -> str:
    """Replaces links to files outside of docs/ by their text, because the site doesn't have those files.

    A link to a file that doesn't exist stays, so the strict build reports it.
    """
    docs = Path(config.docs_dir)
    folder = (docs / page.file.src_uri).parent

    def without_link(match: re.Match[str]) -> str:
        target = (folder / match[2]).resolve()
        return match[1] if target.exists() and not target.is_relative_to(docs) else match[0]

    return _LINK.sub(without_link, markdown)


def on_post_page(output: str, page: Page, **_: Any) -> str:
    """Loads Mermaid on pages with a diagram. Without this, the theme loads it from a CDN."""
    if '<pre class="mermaid">' not in output:
        return output
    return output.replace("</head>", f'<script src="{get_relative_url(MERMAID, page.url)}"></script></head>', 1)
