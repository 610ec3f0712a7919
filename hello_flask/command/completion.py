"""`completion bash` and `completion zsh`: scripts that complete commands and options.

The scripts are static: they are made from the parser, and ask no server.
"""

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "zsh")

_BASH = """\
_hello_flask() {{
    local word="${{COMP_WORDS[COMP_CWORD]}}" path="" each
    for each in "${{COMP_WORDS[@]:1:COMP_CWORD-1}}"; do
        case "$path $each" in
            {nested}) path="$path $each" ;;
        esac
    done
    case "$path" in
{cases}
    esac
}}
complete -o default -F _hello_flask hello-flask
"""


def script(shell: str, parser: argparse.ArgumentParser, roles: tuple[str, ...]) -> str:
    """Return the script for a shell.

    Args:
        shell: one of SHELLS.
        parser: of all commands.
        roles: commands of the server, which have no options here.
    """
    words = dict(_words("", parser))
    words[""] = [*roles, *words[""]]
    nested = "|".join(f'"{path}"' for path in words if path)
    cases = "\n".join(
        f'        "{path}") COMPREPLY=($(compgen -W "{" ".join(found)}" -- "$word")) ;;'
        for path, found in words.items()
    )
    text = _BASH.format(nested=nested, cases=cases)
    if shell == "bash":
        return text
    return f"autoload -U +X bashcompinit && bashcompinit\n{text}"


def _words(path: str, parser: argparse.ArgumentParser) -> Iterator[tuple[str, list[str]]]:
    """Yield the words that may follow each command: the commands below it, and its options."""
    found: list[str] = []
    for action in parser._actions:
        found += action.option_strings
        if isinstance(action, argparse._SubParsersAction):
            found += action.choices
            for name, below in action.choices.items():
                yield from _words(f"{path} {name}", below)
        elif action.choices:
            found += map(str, action.choices)
    yield path, found
