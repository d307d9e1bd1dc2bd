"""Exit codes: what a script may rely on."""

from __future__ import annotations

import pytest
import typer

from mstedge import cli
from mstedge.errors import CheckFailedError, ConfigError, InconclusiveError, MachineError, MissingPackageError

CASES = [
    (CheckFailedError("no"), 1, "error: no\n"),
    (ConfigError("bad", hint="good"), 2, "error: bad\n  hint: good\n"),
    (MachineError("none"), 3, "error: none\n"),
    (MissingPackageError("cv2", purpose="reading", extra="image"), 3, "pip install 'mstedge[image]'"),
    (InconclusiveError("?"), 4, "error: ?\n"),
    (KeyboardInterrupt(), 130, "interrupted\n"),
    (CheckFailedError("evil \x1b[2J name"), 1, "error: evil \\x1b[2J name\n"),
]


@pytest.mark.parametrize(("problem", "code", "words"), CASES)
def test_errors_become_codes_without_a_traceback(
    problem: BaseException, code: int, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail() -> None:
        raise problem

    app = typer.Typer()
    app.command("fail")(fail)
    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["fail"]) == code
    errors = capsys.readouterr().err
    assert words in errors
    assert "Traceback" not in errors


def test_a_bug_says_so_and_shows_where(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def fail() -> None:
        raise ZeroDivisionError("ours")

    app = typer.Typer()
    app.command("fail")(fail)
    app.command("other")(lambda: None)
    monkeypatch.setattr(cli, "app", app)
    assert cli.run(["fail"]) == 70
    errors = capsys.readouterr().err
    assert "ZeroDivisionError: ours" in errors
    assert "This is a bug in mstedge" in errors


@pytest.mark.parametrize(
    "arguments", [["verfy"], ["verify"], ["verify", "--nope", "x"], ["bench", "x", "--threads", "many"]]
)
def test_mistakes_on_the_command_line_are_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(arguments) == 2
    assert "Error" in capsys.readouterr().err


def test_help_and_version_are_0(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["--help"]) == 0
    assert cli.run(["--version"]) == 0
    assert "mstedge 0." in capsys.readouterr().out


def test_recipes_are_listed_printed_and_missed(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.run(["recipes"]) == 0
    assert "digits-audio" in capsys.readouterr().out
    assert cli.run(["recipes", "digits-image"]) == 0
    assert "modality: image" in capsys.readouterr().out
    assert cli.run(["recipes", "digits-imge"]) == 2
    assert "did you mean 'digits-image'?" in capsys.readouterr().err
