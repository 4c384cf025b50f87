"""``vectus completion``: what makes a shell complete commands, options and their values.

Made from the parser itself, without any library: the scripts call nothing of ours, so completing
is as quick as the shell.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable, Iterator
from functools import partial

from vectus.cli import codes, outlet
from vectus.cli.parser import Commands
from vectus.cli.tree import Command, Option, read

ABOUT = """Print a script that teaches a shell to complete vectus. bash: put
`eval "$(vectus completion bash)"` into ~/.bashrc. zsh: write it to a file _vectus in a directory of
$fpath. fish: write it to ~/.config/fish/completions/vectus.fish."""


def add(commands: Commands[argparse.ArgumentParser], root: argparse.ArgumentParser) -> None:
    """Describe the command to the parser."""
    parser = commands.add_parser(
        "completion", help="Print a completion script for a shell.", description=ABOUT
    )
    parser.add_argument("shell", choices=tuple(SHELLS), help="the shell")
    parser.set_defaults(run=partial(run, root), parser=parser)


def run(root: argparse.ArgumentParser, options: argparse.Namespace) -> int:
    """Print it."""
    outlet.out("\n".join(SHELLS[options.shell](read(root))))
    return codes.OK


# --- bash -----------------------------------------------------------------------------------------


def bash(commands: tuple[Command, ...]) -> Iterator[str]:
    """Words by command, and what follows an option by command and option."""
    program, *others = commands
    # macOS has a bash without mapfile
    yield "_vectus_offer() {"
    yield '    local each; while IFS= read -r each; do COMPREPLY+=("$each"); done'
    yield "}"
    yield "_vectus() {"
    yield '    local word=${COMP_WORDS[COMP_CWORD]} before= command= each words=""'
    yield "    (( COMP_CWORD )) && before=${COMP_WORDS[COMP_CWORD-1]}"
    yield '    for each in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do'
    yield f"        case $each in {'|'.join(c.name for c in others)}) command=$each; break;; esac"
    yield "    done"
    yield "    COMPREPLY=()"
    yield '    case "$command $before" in'
    for command in commands:
        for option in command.options:
            if option.takes:
                patterns = "|".join(f'"{command.name} {flag}"' for flag in option.flags)
                yield f"        {patterns}) {_bash_value(option)}; return;;"
    yield "    esac"
    yield "    case $command in"
    for command in others:
        yield f'        {command.name}) words="{" ".join(_flags(command))}";;'
    names = " ".join([*(c.name for c in others), *_flags(program)])
    yield f'        *) words="{names}";;'
    yield "    esac"
    yield "    case $command in"
    for command in others:
        if choices := [c for argument in command.arguments for c in argument.choices]:
            yield f'        {command.name}) words="$words {" ".join(choices)}";;'
    yield "    esac"
    yield "    if [[ $word == -* || -z $command || $command == completion ]]; then"
    yield '        _vectus_offer < <(compgen -W "$words" -- "$word")'
    yield "    else"
    yield f"        {_BASH_FILES}"
    yield "    fi"
    yield "}"
    yield "complete -F _vectus vectus"


_BASH_FILES = 'compopt -o filenames 2>/dev/null; _vectus_offer < <(compgen -f -- "$word")'


def _bash_value(option: Option) -> str:
    if option.choices:
        words = " ".join(option.choices)
        return f'_vectus_offer < <(compgen -W "{words}" -- "$word")'
    return _BASH_FILES if option.value == "file" else ":"


def _flags(command: Command) -> list[str]:
    return [flag for option in command.options for flag in option.flags]


# --- zsh ------------------------------------------------------------------------------------------


def zsh(commands: tuple[Command, ...]) -> Iterator[str]:
    """A function for ``_arguments`` per command."""
    program, *others = commands
    yield "#compdef vectus"
    yield "_vectus() {"
    yield "    local context state state_descr line"
    yield "    typeset -A opt_args"
    yield "    local -a commands=("
    yield from (f"        {_quoted(f'{c.name}:{c.help}')}" for c in others)
    yield "    )"
    yield "    _arguments -C \\"
    yield from (f"        {_zsh_option(option)} \\" for option in program.options)
    yield "        '1: :->command' '*:: :->arguments'"
    yield "    case $state in"
    yield "    command) _describe command commands;;"
    yield "    arguments)"
    yield "        case $line[1] in"
    for command in others:
        yield f"        {command.name}) _arguments \\"
        yield from (f"            {_zsh_option(option)} \\" for option in command.options)
        yield f"            {_zsh_arguments(command)};;"
    yield "        esac;;"
    yield "    esac"
    yield "}"
    # Autoloaded from $fpath the file is the function; sourced, it has to be announced.
    yield 'if [[ $funcstack[1] == _vectus ]]; then _vectus "$@"; else compdef _vectus vectus; fi'


def _zsh_option(option: Option) -> str:
    flags = ",".join(option.flags)
    head = f"{{{flags}}}" if len(option.flags) > 1 else flags
    about = re.sub(r"([][:\\])", r"\\\1", option.help)
    return f"'*'{head}{_quoted(f'[{about}]' + _zsh_value(option))}"


def _zsh_value(option: Option) -> str:
    if not option.takes:
        return ""
    if option.choices:
        return f":value:({' '.join(option.choices)})"
    return ":file:_files" if option.value == "file" else ":value: "


def _zsh_arguments(command: Command) -> str:
    if not command.arguments:
        return "'*: :'"
    (argument,) = command.arguments
    return _quoted("*" + _zsh_value(argument))


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"


# --- fish -----------------------------------------------------------------------------------------


def fish(commands: tuple[Command, ...]) -> Iterator[str]:
    """A ``complete`` line per command and option."""
    program, *others = commands
    names = " ".join(command.name for command in others)
    outside = f"-n 'not __fish_seen_subcommand_from {names}'"
    yield "complete -c vectus -f"
    for command in others:
        yield f"complete -c vectus {outside} -a {command.name} -d {_fish_quoted(command.help)}"
    yield from (_fish_option(outside, option) for option in program.options)
    for command in others:
        inside = f"-n '__fish_seen_subcommand_from {command.name}'"
        yield from (_fish_option(inside, option) for option in command.options)
        for argument in command.arguments:
            if argument.choices:
                yield f"complete -c vectus {inside} -a '{' '.join(argument.choices)}'"
            elif argument.value == "file":
                yield f"complete -c vectus {inside} -F"


def _fish_option(where: str, option: Option) -> str:
    flags = [f"-l {f[2:]}" if f.startswith("--") else f"-s {f[1:]}" for f in option.flags]
    words = ["complete -c vectus", where, *flags]
    if option.choices:
        words.append(f"-x -a '{' '.join(option.choices)}'")
    elif option.value == "file":
        words.append("-r -F")
    elif option.takes:
        words.append("-x")
    return " ".join([*words, "-d", _fish_quoted(option.help)])


def _fish_quoted(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


SHELLS: dict[str, Callable[[tuple[Command, ...]], Iterator[str]]] = {
    "bash": bash,
    "zsh": zsh,
    "fish": fish,
}
