"""--config below, the command line above; every wrong key and value is named."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from espnet_egl import options, running
from espnet_egl.bin import al_score, al_select, main
from espnet_egl.errors import DataError

COMMANDS = options.COMMANDS
NEEDED = ["--output_dir", "o", "--key_file", "k", "--asr_train_config", "c"]
NEEDED += ["--asr_model_file", "m"]
NEEDED += ["--data_path_and_name_and_type", "a,speech,sound"]


def write(tmp_path: Path, content: str) -> str:
    (tmp_path / "al.yaml").write_text(content)
    return str(tmp_path / "al.yaml")


def test_the_command_line_wins_over_the_config(tmp_path: Path) -> None:
    config = write(
        tmp_path, "al_score: {nbest: 7, methods: [random], allow_pipes: false}\nal_select:\n"
    )
    parse = al_score.get_parser().parse_args
    args = parse(["--config", config, *NEEDED])
    assert (args.nbest, args.methods, args.allow_pipes) == (7, ["random"], False)
    args = parse(["--config", config, "--nbest", "9", *NEEDED])
    assert (args.nbest, args.methods) == (9, ["random"])
    assert al_score.get_parser().parse_args(NEEDED).nbest is None


def test_required_options_may_stand_in_the_config(tmp_path: Path) -> None:
    config = write(tmp_path, "al_select: {score_file: s, data_dir: d, output_dir: o, budget: 2h}")
    args = al_select.get_parser().parse_args(["--config", config])
    assert (args.score_file, args.budget) == ("s", "2h")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("al_score: {nbset: 7}", "unknown option 'nbset'"),
        ("al_score: {nbest: many}", "nbest: invalid int value"),
        ("al_score: {egl_weights: heavy}", "egl_weights: .*invalid choice"),
        ("al_score: {config: other.yaml}", "unknown option 'config'"),
        ("al_scores: {nbest: 7}", "unknown section 'al_scores'"),
        ("nbest: 7", "unknown section 'nbest'"),
        ("al_score: 7", "must hold 'option: value' lines"),
        ("- al_score", "must hold sections"),
        ("a: [", "while parsing"),
        ("!!python/object/apply:os.getcwd []", "could not determine a constructor"),
        ("al_score: {nbest: }", "nbest: one value is wanted, not None"),
        ("al_score: {egl_mode: [exact, estimate]}", "egl_mode: one value is wanted"),
        ("al_score: {hyp_source: {beam: 5}}", "hyp_source: one value is wanted"),
    ],
)
def test_a_wrong_config_is_refused(
    tmp_path: Path, content: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        al_score.get_parser().parse_args(["--config", write(tmp_path, content), *NEEDED])
    assert e.value.code == 2
    assert re.search(message, capsys.readouterr().err)


def test_arguments_may_come_from_a_file(tmp_path: Path) -> None:
    """Whatever a shell on the way would make of them."""
    pattern = r"^encoder\.(a|b)$ *"
    (tmp_path / "al_score.args").write_text(
        f"--egl_params\n{pattern}\n--inference_args=--beam_size 3\n--config\n"
        f"{write(tmp_path, 'al_score: {nbest: 7}')}\n"
    )
    args = al_score.get_parser().parse_args([f"@{tmp_path}/al_score.args", *NEEDED])
    assert (args.egl_params, args.inference_args, args.nbest) == (pattern, "--beam_size 3", 7)


def test_an_option_cut_short_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        al_score.get_parser().parse_args(["--egl_mod", "exact", *NEEDED])
    assert "unrecognized arguments: --egl_mod exact" in capsys.readouterr().err


def test_a_missing_config_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        al_score.get_parser().parse_args(["--config", "none.yaml", *NEEDED])
    assert "none.yaml" in capsys.readouterr().err


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_at_once(command: str) -> None:
    """It imports neither torch nor ESPnet's models."""
    started = time.monotonic()
    code = (
        f"import sys; from espnet_egl.bin import {command} as c; c.get_parser().format_help();"
        "assert not {'torch', 'pandas', 'numpy'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize("command", COMMANDS)
def test_every_option_has_a_help_text(command: str) -> None:
    parser = importlib.import_module(f"espnet_egl.bin.{command}").get_parser()
    assert all(a.help or a.dest in {"seed", "dtype"} for a in parser._actions)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_tells_every_default_once_and_none_that_says_nothing(command: str) -> None:
    parser = importlib.import_module(f"espnet_egl.bin.{command}").get_parser()
    text = " ".join(parser.format_help().split())
    assert "(default: INFO)" in text
    assert not re.search(r"\(default: (None|\[\])?\)|\(default: [^)]*\) \(default: ", text)


@pytest.mark.parametrize("word", main.COMMANDS)
def test_help_names_the_command_as_it_was_called(
    word: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as e:
        main.main([word, "--help"])
    assert e.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: espnet-egl {word} [-h]")
    command, _ = main.COMMANDS[word]
    # The doctor, which must not need what may be broken, is called so alone.
    alone = {"al_doctor": "espnet-egl doctor"}.get(command, command)
    assert importlib.import_module(f"espnet_egl.bin.{command}").get_parser().prog == alone


def test_a_command_called_otherwise_has_its_section(tmp_path: Path) -> None:
    with options.called_as("al_select", "espnet-egl select"):
        parser = al_select.get_parser()
    config = write(tmp_path, "al_select: {score_file: s, data_dir: d, output_dir: o, budget: 2h}")
    assert parser.parse_args(["--config", config]).budget == "2h"


def test_the_shipped_config_is_valid_for_every_command() -> None:
    path = Path(__file__).parent.parent / "conf" / "al.yaml"
    sections = yaml.safe_load(path.read_text())
    others = {}
    for command in sections:
        parser = importlib.import_module(f"espnet_egl.bin.{command}").get_parser()
        for key, value in parser.read_section(str(path)).items():
            if value != parser.get_default(key):
                others[key] = value
    # They go together: renormalized weights put clips without speech first.
    assert others == {"egl_weights": "renormalized", "vad": True, "min_speech": 0.1}
    starred = [line.split(":")[0] for line in path.read_text().splitlines() if "# * " in line]
    assert [key.strip() for key in starred] == list(others)


def test_an_error_of_the_user_is_a_message_without_a_traceback(
    capsys: pytest.CaptureFixture[str],
) -> None:
    def fail(_: object) -> None:
        raise DataError("wav.scp:3: no such thing")

    with pytest.raises(SystemExit) as e:
        options.run(options.make_parser("al_select", ""), fail, [])
    assert e.value.code == 1
    assert capsys.readouterr().err.splitlines()[-1] == "al_select: error: wav.scp:3: no such thing"


def parsers() -> dict[str, options.ArgumentParser]:
    modules = {name: importlib.import_module(f"espnet_egl.bin.{name}") for name in COMMANDS}
    return {name: module.get_parser() for name, module in modules.items()}


def test_whoever_reads_audio_may_be_kept_from_running_commands_and_from_waiting() -> None:
    from espnet_egl.data.pipes import PIPE_TIMEOUT

    found = {n: p for n, p in parsers().items() if "allow_pipes" in {a.dest for a in p._actions}}
    assert set(found) == {
        *("al_score", "al_channel", "al_segment", "al_export", "al_train_data", "al_report")
    }
    config = yaml.safe_load((Path(__file__).parent.parent / "conf" / "al.yaml").read_text())
    for name, parser in found.items():
        assert parser.get_default("allow_pipes") is True
        assert parser.get_default("pipe_timeout") == PIPE_TIMEOUT
        assert {"allow_pipes", "pipe_timeout"} <= config[name].keys()


def test_prices_are_called_alike_and_told_by_the_selection() -> None:
    """None stands for the selection's."""
    defaults = {
        name: {parser.get_default(key) for key in ("price_per_hour", "price_per_clip")}
        for name, parser in parsers().items()
        if "price_per_hour" in {a.dest for a in parser._actions}
    }
    assert defaults == {
        "al_select": {0.0},
        "al_worth": {0.0},
        "al_report": {0.0},
        "al_curve": {None},
        "al_pilot": {None},
    }


def echoed(words: list[str], environment: dict[str, str]) -> str:
    code = (
        "import sys, warnings\nfrom espnet_egl import options\n"
        "parser = options.make_parser('al_x', '')\nparser.add_argument('--output_dir')\n"
        "def do(args):\n    warnings.warn('of a library', FutureWarning)\n"
        "    warnings.warn('for a user', UserWarning)\n"
        "options.run(parser, do, None)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, *words],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stderr


def test_jobs_echo_their_command_and_others_only_when_asked() -> None:
    assert "--output_dir" not in echoed(["--output_dir", "exp/score"], {})
    assert "--output_dir exp/output.3" in echoed(["--output_dir", "exp/output.3"], {})
    said = echoed(["--output_dir", "exp/score"], {"EGL_VERBOSE": "true"})
    assert "--output_dir exp/score" in said


def test_what_libraries_tell_their_developers_is_left_out() -> None:
    said = echoed([], {})
    assert "for a user" in said
    assert "of a library" not in said
    assert "of a library" in echoed([], {"PYTHONWARNINGS": "default"})


def test_a_module_that_is_put_off_is_imported_when_it_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "downloads_much.py").write_text("print('downloading')\nG2p = 3\n")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(running, "DOWNLOADER", "downloads_much")
    with running.quiet():
        import downloads_much

        assert not hasattr(downloads_much, "__file__")
        assert downloads_much.G2p == 3
    assert sys.modules["downloads_much"].__file__ == str(tmp_path / "downloads_much.py")
    monkeypatch.setattr(running, "DOWNLOADER", "is_not_there")
    with running.quiet(), pytest.raises(ModuleNotFoundError):
        import is_not_there  # noqa: F401
