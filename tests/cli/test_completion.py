"""``tlsproxy completion``: the shells themselves complete by what it prints."""

import subprocess
from pathlib import Path

import pytest

from tests.support.programs import require
from tlsproxy.cli.completion import SHELLS
from tlsproxy.cli.main import COMMANDS, main


def script(shell: str, capsys: pytest.CaptureFixture[str]) -> str:
    assert main(["completion", shell]) == 0
    return capsys.readouterr().out


def shell_says(shell: str, program: str, directory: Path) -> list[str]:
    command = [require(shell, package=shell), *(["--norc"] if shell == "bash" else []), "-c", program]
    result = subprocess.run(
        command,
        cwd=directory,
        env={"HOME": str(directory), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert result.stderr == ""
    return result.stdout.split("\n")[:-1]


def bash_completes(capsys: pytest.CaptureFixture[str], directory: Path, *words: str) -> list[str]:
    (directory / "completion").write_text(script("bash", capsys))
    program = f"""
        . ./completion
        COMP_WORDS=(tlsproxy {" ".join(f"'{word}'" for word in words)})
        COMP_CWORD={len(words)}
        function=$(complete -p tlsproxy | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
        $function tlsproxy "${{COMP_WORDS[COMP_CWORD]}}" "${{COMP_WORDS[COMP_CWORD-1]}}"
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    return shell_says("bash", program, directory)


def fish_completes(capsys: pytest.CaptureFixture[str], directory: Path, line: str) -> list[str]:
    (directory / "completion").write_text(script("fish", capsys))
    said = shell_says("fish", f'source ./completion; complete -C "{line}"', directory)
    return [each.split("\t")[0] for each in said]


@pytest.mark.interop
def test_bash_completes_commands_options_choices_and_files(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (tmp_path / "mail.toml").write_text("")
    assert set(COMMANDS) <= set(bash_completes(capsys, tmp_path, ""))
    assert bash_completes(capsys, tmp_path, "che") == ["check"]
    assert bash_completes(capsys, tmp_path, "probe", "--start") == ["--starttls"]
    assert bash_completes(capsys, tmp_path, "probe", "--starttls", "i") == ["imap"]
    assert bash_completes(capsys, tmp_path, "check", "mai") == ["mail.toml"]


@pytest.mark.interop
def test_fish_completes_commands_and_options(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert set(COMMANDS) <= set(fish_completes(capsys, tmp_path, "tlsproxy "))
    assert "--starttls" in fish_completes(capsys, tmp_path, "tlsproxy probe --start")


@pytest.mark.interop
def test_zsh_reads_it(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "_tlsproxy").write_text(script("zsh", capsys))
    program = "autoload -Uz compinit; fpath=($PWD $fpath); compinit -u -D; print $_comps[tlsproxy]; zsh -n _tlsproxy"
    assert shell_says("zsh", program, tmp_path) == ["_tlsproxy"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_command_is_in_it(shell: str, capsys: pytest.CaptureFixture[str]) -> None:
    text = script(shell, capsys)
    assert all(command in text for command in COMMANDS)


def test_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["completion", "sh"])
    assert caught.value.code == 2
    assert "invalid choice: 'sh'" in capsys.readouterr().err
