"""Writes the golden files of mails and the generated parts of pages."""

from __future__ import annotations

from pathlib import Path

from tools.documents import ROOT, cli, errors, golden, rules, settings, state_machine


def main() -> None:
    """Writes the files that differ from what the code makes, and prints their names."""
    wanted = golden.files()
    for path in sorted({*golden.MAILS.glob("*"), *golden.CHAT.glob("*")} - wanted.keys()):
        path.unlink()
        print(f"removed {path.relative_to(ROOT)}")
    for path, text in wanted.items():
        _write(path, text)
    _write(settings.SCHEMA, settings.schema())
    for page in (cli, errors, rules, settings):
        _write(page.PATH, page.render())
    _write(state_machine.PATH, state_machine.render(state_machine.definitions()))


def _write(path: Path, text: str) -> None:
    if path.is_file() and path.read_text("utf-8") == text:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8", newline="\n")
    print(f"wrote {path.relative_to(ROOT)}")


if __name__ == "__main__":
    main()
