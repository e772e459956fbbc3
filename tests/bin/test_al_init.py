"""Into a recipe and out again; nothing that is not ours is touched."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from espnet_egl.bin import main
from espnet_egl.recipe import packaged

RUN = '#!/usr/bin/env bash\n# Calls ./asr.sh\n./asr.sh \\\n    --lang en "$@"\n'


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    directory = tmp_path / "egs2" / "corpus" / "asr1"
    directory.mkdir(parents=True)
    for name in ("asr.sh", "path.sh", "cmd.sh"):
        (directory / name).write_text("if [ ${stage} -le 15 ] && [ ${stop_stage} -ge 15 ]; then\n")
    (directory / "run.sh").write_text(RUN)
    for name in ("run.sh", "asr.sh"):
        (directory / name).chmod(0o755)
    return directory


def init(recipe: Path, *options: str) -> None:
    main.main(["init", str(recipe), *options])


def files(recipe: Path) -> dict[str, bytes]:
    return {str(p.relative_to(recipe)): p.read_bytes() for p in recipe.rglob("*") if p.is_file()}


def refused(recipe: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    before = files(recipe)
    with pytest.raises(SystemExit):
        init(recipe, *options)
    assert files(recipe) == before
    return capsys.readouterr().err


def test_it_shows_the_change_and_leaves_run_sh_alone(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = files(recipe)
    init(recipe, "--dry_run")
    assert files(recipe) == before
    assert "Nothing was done" in capsys.readouterr().out
    init(recipe)
    printed = capsys.readouterr().out
    assert "-./asr.sh \\\n+./al.sh \\\n" in printed
    assert "al.sh: to write\n" in printed
    assert "\nDone.\n" in printed
    assert "write ./al.sh for ./asr.sh" in printed
    assert "counts with --al_config conf/al.yaml" in printed
    assert (recipe / "run.sh").read_text() == RUN
    assert (recipe / "al.sh").read_bytes() == packaged("al.sh")
    assert os.access(recipe / "al.sh", os.X_OK)
    assert (recipe / "conf" / "al.yaml").read_bytes() == packaged("conf/al.yaml")


def test_one_word_there_and_back(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = files(recipe)
    init(recipe, "--apply")
    printed = capsys.readouterr().out
    assert "-./asr.sh \\\n+./al.sh \\\n" in printed
    assert (recipe / "run.sh").read_text() == RUN.replace("\n./asr.sh", "\n./al.sh")
    assert os.access(recipe / "run.sh", os.X_OK)
    assert (recipe / "run.sh.bak").read_text() == RUN
    after = files(recipe)
    init(recipe, "--apply")
    assert "calls ./al.sh already" in capsys.readouterr().out
    assert files(recipe) == after
    init(recipe, "--remove")
    assert files(recipe) == before


def test_what_people_changed_stays(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    init(recipe, "--apply")
    config = recipe / "conf" / "al.yaml"
    config.write_text("al_select: {budget: 5h}\n")
    with (recipe / "run.sh").open("a") as f:
        f.write("echo more\n")
    init(recipe, "--apply")
    assert "stays as it is: yours" in capsys.readouterr().out
    init(recipe, "--remove")
    assert "stays: it is not as this version wrote it" in capsys.readouterr().out
    assert config.exists()
    assert (recipe / "run.sh").read_text() == RUN + "echo more\n"
    assert (recipe / "run.sh.bak").exists()


def test_what_is_no_recipe_is_refused(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (recipe / "al.sh").write_text("mine\n")
    assert "al.sh is of another version" in refused(recipe, capsys)
    (recipe / "al.sh").unlink()
    (recipe / "run.sh.bak").write_text("mine\n")
    assert "run.sh.bak is there already and differs" in refused(recipe, capsys, "--apply")
    assert "give either" in refused(recipe, capsys, "--apply", "--remove")
    (recipe / "run.sh").write_text("./tts.sh\n")
    assert "does not call ./asr.sh" in refused(recipe, capsys)
    (recipe / "asr.sh").write_text("if [ ${stage} -le 20 ]; then\n")
    assert "has a stage 20 of its own" in refused(recipe, capsys)
    (recipe / "asr.sh").unlink()
    (recipe / "asr.sh").symlink_to("../../TEMPLATE/asr1/asr.sh")
    assert "asr.sh is a broken link" in refused(recipe, capsys)
    (recipe / "asr.sh").unlink()
    assert "asr.sh is missing" in refused(recipe, capsys)
    (recipe / "uasr.sh").write_text("")
    assert "unsupervised" in refused(recipe, capsys)


def test_scripts_may_be_in_any_encoding(recipe: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """run.sh keeps every byte, and what cannot be printed is shown by its numbers."""
    own = RUN.replace("--lang", "--name Größe --lang").encode("latin-1")
    (recipe / "run.sh").write_bytes(own)
    with (recipe / "asr.sh").open("ab") as f:
        f.write("# Größe\n".encode("latin-1"))
    before = files(recipe)
    init(recipe, "--apply")
    assert "Gr\\xf6\\xdfe" in capsys.readouterr().out
    assert (recipe / "run.sh").read_bytes() == own.replace(b"\n./asr.sh", b"\n./al.sh")
    init(recipe, "--remove")
    assert files(recipe) == before


def test_nothing_is_said_to_be_done_that_is_not(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe / "conf").write_text("no folder")
    with pytest.raises(SystemExit):
        init(recipe)
    printed = capsys.readouterr().out
    assert "conf/al.yaml: to write\n" in printed
    assert "Done." not in printed
    assert not (recipe / "conf" / "al.yaml").exists()


def test_a_linked_run_sh_is_changed_where_it_is(
    recipe: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (recipe / "run.sh").rename(recipe / "real.sh")
    (recipe / "run.sh").symlink_to("real.sh")
    assert "run.sh is a link to" in refused(recipe, capsys, "--apply")


def test_commands_stand_under_one_name(capsys: pytest.CaptureFixture[str]) -> None:
    main.main([])
    assert "put the stages into a recipe" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main.main(["nonsense"])
    assert "no command 'nonsense'" in capsys.readouterr().err
