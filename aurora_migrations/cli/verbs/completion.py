"""`aurora-migrations completion SHELL`: prints a script by which a shell completes verbs, options and their values."""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from aurora_migrations.cli import options
from aurora_migrations.cli.main import PROGRAM, VERBS, parser_of
from aurora_migrations.cli.output import show

_FOLDERS = ("--migrations",)  # options whose value is a folder


def main(argv: Sequence[str]) -> int:
    parser = options.make_parser(
        "completion",
        "Prints a script that completes verbs, options and values. Have the shell evaluate it when it starts: with "
        "eval in ~/.bashrc, or in ~/.zshrc after compinit; with `| source` in fish; with `| Out-String | "
        "Invoke-Expression` in PowerShell's $PROFILE.",
        "completion bash",
        outputs=("text",),
    )
    parser.add_argument("shell", metavar="SHELL", choices=list(_SCRIPTS), help=f"one of: {', '.join(_SCRIPTS)}")
    shell = parser.parse_args(argv).shell
    show(_SCRIPTS[shell]([_options_of(verb) for verb in VERBS]).rstrip())
    return 0


@dataclass(frozen=True)
class _Option:
    name: str
    values: tuple[str, ...]  # empty if it has none, or any
    takes_value: bool
    help: str


@dataclass(frozen=True)
class _Verb:
    name: str
    help: str
    options: tuple[_Option, ...]
    arguments: tuple[str, ...]  # values of its arguments

    @property
    def words(self) -> str:
        """All that may follow it."""
        return " ".join([*self.arguments, *(each.name for each in self.options)])


def _options_of(verb: str) -> _Verb:
    found, arguments = [], list[str]()
    for action in parser_of(verb)._actions:
        values = tuple(map(str, action.choices or ()))
        if not action.option_strings:
            arguments += values
        elif action.help != argparse.SUPPRESS:
            text = " ".join((action.help or "").split()).replace("%%", "%")
            found.append(_Option(action.option_strings[-1], values, action.nargs != 0, text))
    return _Verb(verb, VERBS[verb], tuple(found), tuple(arguments))


def _cases(verbs: Sequence[_Verb], choices: str, folders: str) -> str:
    """Of bash and zsh: what completes the value of an option. A value that can be anything has no completion."""
    lines = []
    for verb in verbs:
        for option in verb.options:
            does = choices.format(" ".join(option.values)) if option.values else "return"
            if option.name in _FOLDERS:
                does = folders
            if option.takes_value:
                lines.append(f"        '{verb.name} {option.name}') {does} ;;")
    return "\n".join(lines)


def _bash(verbs: Sequence[_Verb]) -> str:
    words = "\n".join(f"        {verb.name}) words='{verb.words}' ;;" for verb in verbs)
    values = _cases(verbs, "COMPREPLY=($(compgen -W '{}' -- \"$word\")); return", "compopt -o dirnames; return")
    return f"""\
_aurora_migrations() {{
    local word=${{COMP_WORDS[COMP_CWORD]}} words='{" ".join(VERBS)}'
    COMPREPLY=()
    if [ "$COMP_CWORD" -gt 1 ]; then
        words=
        case "${{COMP_WORDS[1]}} ${{COMP_WORDS[COMP_CWORD-1]}}" in
{values}
        esac
        case "${{COMP_WORDS[1]}}" in
{words}
        esac
    fi
    COMPREPLY=($(compgen -W "$words" -- "$word"))
}}
complete -F _aurora_migrations {PROGRAM}
"""


def _zsh(verbs: Sequence[_Verb]) -> str:
    described = "\n".join(f"        {_quoted(f'{verb.name}:{verb.help}')}" for verb in verbs)
    words = "\n".join(f"        {verb.name}) compadd -- {verb.words} ;;" for verb in verbs)
    return f"""\
_aurora_migrations() {{
    local -a verbs=(
{described}
    )
    if (( CURRENT == 2 )); then
        _describe verb verbs
        return
    fi
    case "$words[2] $words[CURRENT-1]" in
{_cases(verbs, "compadd -- {}; return", "_files -/; return")}
    esac
    case "$words[2]" in
{words}
    esac
}}
compdef _aurora_migrations {PROGRAM}
"""


def _fish(verbs: Sequence[_Verb]) -> str:
    lines = [f"complete -c {PROGRAM} -f"]
    for verb in verbs:
        lines.append(f"complete -c {PROGRAM} -n __fish_use_subcommand -a {verb.name} -d {_quoted(verb.help)}")
        begin = f"complete -c {PROGRAM} -n '__fish_seen_subcommand_from {verb.name}'"
        if verb.arguments:
            lines.append(f"{begin} -a '{' '.join(verb.arguments)}'")
        for option in verb.options:
            value = " -x" if option.takes_value else ""
            if option.name in _FOLDERS:
                value += " -a '(__fish_complete_directories)'"
            elif option.values:
                value += f" -a '{' '.join(option.values)}'"
            lines.append(f"{begin} -l {option.name.removeprefix('--')}{value} -d {_quoted(option.help)}")
    return "\n".join(lines)


def _powershell(verbs: Sequence[_Verb]) -> str:
    words = {verb.name: verb.words.split() for verb in verbs}
    values = {f"{verb.name} {each.name}": each.values for verb in verbs for each in verb.options if each.takes_value}
    return f"""\
Register-ArgumentCompleter -Native -CommandName {PROGRAM} -ScriptBlock {{
    param($word, $command, $position)
    $words = '{json.dumps(words)}' | ConvertFrom-Json
    $values = '{json.dumps(values)}' | ConvertFrom-Json
    $typed = @($command.CommandElements | ForEach-Object {{ "$_" }})
    if ($word -ne '') {{ $typed = @($typed | Select-Object -SkipLast 1) }}
    $found = if ($typed.Count -lt 2) {{ $words.PSObject.Properties.Name }} else {{
        $key = "$($typed[1]) $($typed[-1])"
        if ($values.PSObject.Properties.Name -contains $key) {{ $values.$key }} else {{ $words.($typed[1]) }}
    }}
    $found | Where-Object {{ $_ -like "$word*" }} | ForEach-Object {{
        [System.Management.Automation.CompletionResult]::new($_, $_, 'ParameterValue', $_)
    }}
}}
"""


def _quoted(text: str) -> str:
    """In single quotes, as zsh and fish read it."""
    return "'" + text.replace("'", "'\\''") + "'"


_SCRIPTS: dict[str, Callable[[Sequence[_Verb]], str]] = {
    "bash": _bash,
    "zsh": _zsh,
    "fish": _fish,
    "powershell": _powershell,
}
