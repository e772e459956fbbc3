"""What a report says, and how it is written down."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from example_round import ATTACK, Round, made, make_round  # noqa: F401 - a fixture

from espnet_egl.bin import al_curve, al_report
from espnet_egl.errors import DataError
from espnet_egl.loop import worth
from espnet_egl.loop.simulation import RESULT_COLUMNS
from espnet_egl.loop.tables import Table
from espnet_egl.report import findings, headline, makeup, page, plots
from espnet_egl.report.alignment import marked, words
from espnet_egl.report.blocks import (
    SAME,
    TEXTS,
    Block,
    Column,
    Figure,
    Grid,
    Listing,
    Paragraphs,
    Plot,
    Records,
    Report,
    Section,
)
from espnet_egl.report.build import Builder
from espnet_egl.report.inputs import Files, Inputs
from espnet_egl.report.language import Language, read_language
from espnet_egl.selection.budget import FREE
from espnet_egl.store.tables import BASE_COLUMNS, SKIPPED_COLUMNS, read_rows, write_rows

CURVE = Path(__file__).parents[2] / "docs" / "results" / "fsdd" / "curve.tsv"


def read(made: Round, name: str = "index.html") -> str:
    return (made.home / "report" / name).read_text(encoding="utf-8")


def test_the_page_loads_nothing_and_takes_no_data_for_markup(made: Round) -> None:
    page = read(made)
    policy = re.search('Policy" content="(.*?)"', page)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe" not in policy[1]
    assert not re.search(r'(?:src|href)="(?!data:image/svg|#)', page)
    assert ATTACK not in page
    assert "<img src=x" not in page
    assert r"\u003cimg src=x onerror=alert(1)\u003e \u0026 \u003c/script" in page
    assert "./run.sh &lt;20&gt;" in page


def test_markdown_has_the_same_tables(made: Round) -> None:
    text = read(made, "report.md")
    assert "30 of 40 clips, 38.8 s of 51.5 s, by egl (budget 30utt)." in text
    assert "The score by confidence is 1 minus the confidence." in text
    assert "**What it costs.** 0.65, at 60 an hour of audio and 0 a clip." in text
    assert "| not scored | unreadable_audio | 1 |" in text
    assert "&lt;img src=x onerror=alert(1)> &amp; &lt;/script>" in text
    assert "<img" not in text
    for name in re.findall(r"\((plots/.*?)\)", text):
        assert (made.home / "report" / name).stat().st_size > 1000
        assert (made.home / "report" / name).with_suffix(".png").exists()
    assert "asr_model_file_sha256 | abc" in text


def test_clips_are_grouped_by_recording(made: Round, tmp_path: Path) -> None:
    data = tmp_path / "data"
    shutil.copytree(made.data, data)
    segments = (data / "segments").read_text().splitlines()
    lines = [line.replace(" rec ", f" rec{i % 3} ") for i, line in enumerate(segments)]
    (data / "segments").write_text("\n".join(lines) + "\n")
    inputs = Inputs(score_dir=made.score, select_dir=made.select, data_dir=data)
    sections = {s.name: s.blocks for s in Builder(inputs, lambda *_: {}).build().sections}
    (records,) = sections["selected"]
    assert isinstance(records, Records)
    names = [column.label for column in records.columns]
    place, clip = names.index("recording"), names.index("clip")
    recordings = {line.split()[0]: line.split()[1] for line in lines}
    assert all(row[place] == recordings[row[clip][0]] for row in records.rows)
    titles = [block.title for block in sections["makeup"] if hasattr(block, "title")]
    assert "Pool and selection by recording" in titles
    # Of one recording there is nothing to group.
    assert "recording" not in makeup.read_maps(made.data)


@pytest.mark.parametrize("table", ["gone.tsv", "skipped.tsv"])
def test_the_ledger_is_told_and_what_has_no_score_any_more_stays_readable(
    made: Round, tmp_path: Path, table: str
) -> None:
    al_dir = tmp_path / "al"
    shutil.copytree(made.select, al_dir / "r1" / "select_b")
    (al_dir / "r1" / "annotate_b").mkdir()
    (al_dir / "r1" / "annotate_b" / "transcribe.tsv").write_text("")
    score = tmp_path / "score"
    shutil.copytree(made.score, score)
    lines = (score / "scores.tsv").read_text().splitlines(keepends=True)
    first = read_rows(made.select / "selection.tsv")[0]["utterance"]
    kept = [line for line in lines if not line.startswith(f"{first}\t")]
    (score / "scores.tsv").write_text("".join(kept))
    select = al_dir / "r1" / "select_b"
    inputs = Inputs(score_dir=score, select_dir=select, al_dir=al_dir)
    with pytest.raises(DataError, match=f"'{first}' is not among the scores"):
        Builder(inputs, lambda *_: {}).build()
    write_rows(score / table, SKIPPED_COLUMNS, [[first, "a reason", "since then"]])
    report = Builder(inputs, lambda *_: {}).build()
    sections = {section.name: section.blocks for section in report.sections}
    (grid,) = sections["asked"]
    assert isinstance(grid, Grid)
    asked = "30 clips, 0.0108 h"
    assert grid.table.rows == [
        ["all", asked, "0 clips, 0 h", asked, "0.65"],
        ["r1/select_b", asked, "0 clips, 0 h", asked, "0.65"],
    ]


def test_markdown_takes_no_text_for_markup() -> None:
    text = r"[a](https://x) ![p](https://x/p) *b* _c_ `d` ~~e~~ | \\ <i> snr_db"
    blocks: list[Block] = [Paragraphs([text]), Plot("n (1)", text, text, b"", b"")]
    blocks += [Grid(Table(text, [text], [[text]])), Listing(text, "")]
    lines = page.markdown(Report("t", [(text, [text])], [Section("s", text, blocks)]))
    assert "plots/n%20%281%29.svg" in "\n".join(lines)
    bare = re.sub(r"\\.", "", "\n".join(lines))
    # The picture's own brackets, the table's bars, the fences.
    assert [bare.count(sign) for sign in "[]|`"] == [1, 1, 6, 6]
    assert not re.search(r"[<~]|\*b\*|_c_", bare)
    assert bare.count("snr_db") == 11


def test_two_thousand_japanese_clips_are_a_small_page() -> None:
    row = [[["50 %", [[SAME, "東京都" * 60]]]] * 5]
    records = Records("r", "t", [Column("x", TEXTS)], [row] * 2000)
    html = page.html(Report("t", [], [Section("s", "t", [records])]), Language())
    assert len(html.encode()) < 10e6


def write_curve(path: Path, cost: int) -> Path:
    """Egl and random selection on two test sets; at 20 % WER, egl is half an hour behind."""
    lines = ["\t".join(RESULT_COLUMNS)]
    for test_set in ("dev", "test"):
        lines.append(f"c\t\t0\t0\t\t0\t0\t0\t{test_set}\t9\t40\t39\t41")
        for method, hours, wer in (("random", 1, 20), ("egl", 1, 25), ("egl", 2, 15)):
            sizes = f"{hours}h\t{100 * hours}\t{hours}\t{cost * hours}"
            lines.append(f"c\t{method}\t0\t1\t{sizes}\t{test_set}\t9\t{wer}\t0\t50")
    path.write_text("\n".join(lines) + "\n")
    return path


def test_measured_costs_come_before_the_selection_s_prices(
    made: Round,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(plots, "learning_curves", lambda *_: Paragraphs([]))
    # The selection's price is 60 an hour; the curve ends at 2 h, 25 points below its start.
    for cost, price in ((450, "36"), (1, "0.08"), (0, "4.8")):
        curve = write_curve(tmp_path / "curve.tsv", cost)
        inputs = Inputs(select_dir=made.select, curve_file=curve, seed_hours=1)
        report = Builder(inputs, lambda *_: {}).build()
        answer = {heading: " ".join(lines) for heading, lines in report.answer}
        assert answer["What it bought so far"].count(f"A point of WER cost {price}.") == 2
        forecasts = [b.table for b in report.sections[0].blocks if isinstance(b, Grid)][4]
        [further] = [row[4] for row in forecasts.rows if row[0] == "egl"]
        assert answer["What the next budget should buy"].count(f"then cost {further}.") == 2


def test_sentences_fit_their_figures(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plots, "learning_curves", lambda *_: Paragraphs([]))
    curve = write_curve(tmp_path / "curve.tsv", 0)
    points = worth.read_points(curve, "dev")
    found = findings.measured(points, "dev", "egl", "random", 1, FREE, Language())
    # 20 % after an hour and a half, where random selection takes one.
    assert "it takes 50.00 (one seed) % more hours." in " ".join(found.bought)
    assert "the WER on dev should be" in found.following[0]
    report = Builder(Inputs(curve_file=curve), lambda *_: {}).build()
    assert len(dict(report.answer)["What the next budget should buy"]) == 1


def test_scores_of_another_pool_are_refused_and_scores_of_no_method_are_no_matter(
    made: Round,
    tmp_path: Path,
) -> None:
    row = ["other", "1.000", "20", "3", "0.5", "0.5", "one"]
    write_rows(tmp_path / "scores.tsv", BASE_COLUMNS, [row])
    report = Builder(Inputs(score_dir=tmp_path), lambda *_: {}).build()
    assert [section.name for section in report.sections] == ["made"]
    with pytest.raises(DataError, match=r"is not among the scores of .*; select again"):
        Builder(Inputs(score_dir=tmp_path, select_dir=made.select), lambda *_: {}).build()


def test_before_anything_is_measured_it_says_so_and_is_the_same_twice(tmp_path: Path) -> None:
    made = make_round(tmp_path, 12, "5utt")
    stray = made.home / "report" / "audio"
    stray.mkdir(parents=True)
    (stray / ("0" * 16 + ".flac")).touch()
    (stray / "mine.flac").touch()
    al_report.main([*made.options(), "--max_audio", "3"])
    page = read(made)
    assert "Nothing is measured yet" in page
    assert "is not known yet" in page
    # Three that were selected, one that was left out.
    assert len(list(stray.glob("*.flac"))) == 5
    assert (stray / "mine.flac").exists()
    al_report.main([*made.options(), "--max_audio", "3"])
    assert read(made) == page


def test_unreadable_audio_is_left_out_and_transcripts_are_compared(tmp_path: Path) -> None:
    made = make_round(tmp_path, 12, "5utt")
    (made.home / "recording.wav").write_bytes(b"nothing")
    labelled = made.home / "labelled"
    labelled.mkdir()
    rows = (made.select / "selection.tsv").read_text().splitlines()[1:]
    uids = [row.split("\t")[1] for row in rows]
    (labelled / "text").write_text(f"{uids[0]} quite other words\n")
    states = ["labelled", "not_speech", "out", "out", "out"]
    write_rows(
        labelled / "returned.tsv",
        ("utterance", "state", "seconds", "reason", "annotator_seconds", "detail"),
        [
            [uid, state, "1", "", "" if state == "out" else "30", ""]
            for uid, state in zip(uids, states, strict=True)
        ],
    )
    suspects = made.home / "gradient_length.tsv"
    write_rows(
        suspects,
        ("utterance", "gradient_length", "loss", "tokens"),
        [["utt0004", "inf", "inf", "1"], ["utt0003", "9", "2", "4"]],
    )
    annotate = made.home / "annotate"
    for directory, reason in ((made.home, "no_alignment"), (annotate, "truncated_audio")):
        write_rows(directory / "skipped.tsv", SKIPPED_COLUMNS, [["utt0001", reason, "detail"]])
    (made.data / "text").write_text("utt0003 wrong words\n")
    options = ["--gradient_length_file", str(suspects), "--gradient_length_data", str(made.data)]
    options += ["--annotate_dir", str(annotate)]
    al_report.main([*made.options(), "--labelled_dir", str(labelled), *options])
    text = read(made, "report.md")
    assert "2 of them came back from transcription." in text
    assert "| quite other words |" in text
    assert "Annotators worked 60 s on 2 clips." in text
    assert "| 1 | utt0004 |  |  |  | 1 |" in text
    assert "| 2 | utt0003 | wrong words | 9.000 | 2.00 | 4 |" in text
    assert not re.search("data-suspects[^<]*Infinity", read(made))
    assert "| transcribed, not measured | no_alignment | 1 |" in text
    assert "| not handed over | truncated_audio | 1 |" in text
    assert not list((made.home / "report" / "audio").glob("*"))


def test_it_says_how_models_and_simulations_were_made(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output_dir", str(tmp_path / "report"), "--curve_file", str(CURVE)]
    files = {
        "asr/manifest.json": '{"part": "all", "train_options": "scratch --lr <1>"}',
        "asr/train_seconds": "75\n",
        "asr_chosen/manifest.json": '{"part": "chosen"}',
        "sim/manifest.json": '{"rounds": 2, "truth_sha256": "abc"}',
        "sim/run.json": '{"methods": ["egl", "random"], "seeds": 5}',
    }
    for name, content in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content)
    for name in ("asr", "asr_chosen"):
        options += ["--train_dir", str(tmp_path / name)]
    options += ["--simulation_dir", str(tmp_path / "sim")]
    al_report.main(options)
    text = (tmp_path / "report" / "report.md").read_text()
    for line in (
        f"**What a model was trained with: {tmp_path}/asr**",
        "| train_options | scratch --lr &lt;1> |",
        "| train_seconds | 75 |",
        f"**What a model was trained with: {tmp_path}/asr_chosen**",
        "| part | chosen |",
        "**What the simulation was made with**",
        r'| methods | \["egl", "random"\] |',
        "| rounds | 2 |",
    ):
        assert line in text.splitlines(), line
    (tmp_path / "sim" / "run.json").write_text("{")
    with pytest.raises(SystemExit):
        al_report.main(options)
    assert "sim/run.json: cannot be read" in capsys.readouterr().err


def test_what_was_left_out_is_heard_where_it_can_be(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    made = make_round(tmp_path, 12, "5utt")
    (made.data / "wav.scp").write_text(
        f"rec {made.home}/recording.wav\nhangs sleep 600 |\nbroken {made.home}/broken.wav\n"
    )
    (made.home / "broken.wav").write_bytes(b"nothing")
    segments = (made.data / "segments").read_text()
    more = "".join(f"{uid} {uid} 0.00 0.50\n" for uid in ("hangs", "broken"))
    (made.data / "segments").write_text(segments + more)
    reasons = {"gone": "unexpected_error", "hangs": "pipe_timeout", "broken": "no_hypothesis"}
    reasons |= {"utt0001": "too_short", "utt0002": "no_hypothesis"}
    write_rows(
        made.score / "skipped.tsv",
        ("utterance", "reason", "detail"),
        [[uid, reason, "because"] for uid, reason in reasons.items()],
    )
    al_report.main([*made.options(), "--max_audio", "2"])
    page = read(made)
    found = re.search(r'id="data-left_out">(.*?)</script>', page)
    assert found is not None
    rows = json.loads(found[1])["rows"]
    # "broken" took one of the two places: whether it can be read is seen by reading it.
    assert [row[0][0] for row in rows if row[0][1]] == ["utt0001"]
    assert [row[2] for row in rows] == list(reasons.values())
    (name,) = (row[0][1] for row in rows if row[0][1])
    assert (made.home / "report" / "audio" / name.split("#")[0]).exists()
    assert "1 of them can be heard." in page
    # What took the time of scoring away is not waited for again.
    assert "'hangs'" not in caplog.text
    assert "no audio of 'broken' in the report" in caplog.text
    shutil.rmtree(made.data)
    al_report.main([*made.options(), "--max_audio", "2"])
    assert "of them can be heard" not in read(made)


def test_a_curve_alone_is_enough_and_wrong_input_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--output_dir", str(tmp_path), "--curve_file", str(CURVE)]
    al_report.main([*options, "--seed_hours", "0.33", "--report_lang", "ja"])
    assert "11 手法のうち最良は pctc" in (tmp_path / "report.md").read_text()
    capsys.readouterr()
    for wrong, message in (
        ([*options, "--test_set", "dev"], "no round of test set 'dev' is in it"),
        (["--output_dir", str(tmp_path)], "nothing to report"),
        ([*options, "--report_lang", "xx"], "must be one of en, ja"),
        ([*options, "--score_dir", str(tmp_path / "no")], "no such score table"),
        ([*options, "--max_clips", "0"], "must be at least 1"),
    ):
        with pytest.raises(SystemExit):
            al_report.main(wrong)
        assert message in capsys.readouterr().err


def test_the_answer_says_what_the_tables_say() -> None:
    points = worth.read_points(CURVE, "test")
    found = findings.measured(points, "test", "egl", "random", 0.33, FREE, Language())
    bought = " ".join(found.bought)
    assert "With 425 clips, 15.0 minutes, selected by egl" in bought
    assert "10.84 (10.17 to 11.50) %" in bought
    assert "egl cannot be told from random: -0.35 (-0.81 to 0.12)" in bought
    # Oracles see the pool's transcripts: they are not among the methods to choose from.
    assert "Best of 11 methods: pctc, -1.47 (-2.32 to -0.61)" in bought
    assert found.following[-1] == "Going on is worth it."
    assert "Means of 5 random seeds" in found.sure[0]
    worse = findings.measured(points, "test", "longest", "random", 0, FREE, Language())
    assert "longest is worse than random: 6.24" in " ".join(worse.bought)
    assert worse.following == ["Nothing is foretold: how long the seed set is was not given."]


def test_at_a_glance_it_says_what_was_bought(made: Round) -> None:
    lines = read(made, "report.md").splitlines()
    assert lines[2:5] == [
        "- **15.0 minutes** labelled: 425 clips, by egl",
        "- **10.8 %** WER on test, before 44.3 %",
        "- **-0.35 points** of WER against random, over the curve: -0.35 (-0.81 to 0.12)",
    ]
    assert any(line.endswith("(plots/answer.svg)") for line in lines[5:12])
    alone = Files(Inputs(curve_file=CURVE, against="nothing"))
    assert headline.figures(alone)[2].caption == "of WER since the seed model"


def test_at_a_glance_it_says_what_was_selected(made: Round) -> None:
    scored = Inputs(score_dir=made.score, select_dir=made.select)
    assert headline.figures(Files(scored)) == [
        Figure("30 clips", "selected of 40 clips, by egl"),
        Figure("38.8 s", "to listen to, of 51.5 s"),
        Figure("0.647", "what it costs, as estimated"),
    ]
    picture = headline.picture(Files(scored))
    assert picture is not None
    assert picture.description.startswith("egl: median ")
    assert headline.figures(Files(Inputs(select_dir=made.select)))[:2] == [
        Figure("30 clips", "selected by egl"),
        Figure("38.8 s", "to listen to"),
    ]
    assert headline.figures(Files(Inputs())) == []
    assert headline.picture(Files(Inputs())) is None


def test_one_seed_has_the_interval_of_the_test_set(tmp_path: Path) -> None:
    lines = [line for line in CURVE.read_text().splitlines() if line.split("\t")[2] in "0seed"]
    path = tmp_path / "curve.tsv"
    path.write_text("\n".join(lines) + "\n")
    points = worth.read_points(path, "test")
    band = plots.bands(points, "hours")["confidence"]
    assert band.seeds == 1
    assert band.mean[2] == 20.35
    assert (band.low[2], band.high[2]) == (17.33, 23.29)
    found = findings.measured(points, "test", "confidence", "random", 0, FREE, Language())
    assert "10.43 (8.16 to 12.79) %" in found.bought[0]
    assert "trained once" in found.sure[0]


def test_one_clip_of_two_seconds_without_a_change_is_said_so(tmp_path: Path) -> None:
    returned = "utterance\tstate\tseconds\treason\nx\tlabelled\t2.3\tegl rank 1 of 9\n"
    texts = {"text": "a one two\nb one two\n", "before": "a one\nb one\n"}
    for name, content in (*texts.items(), ("returned.tsv", returned)):
        (tmp_path / name).write_text(content)
    options = ["--result", f"test,{tmp_path / 'text'},{tmp_path / 'before'}"]
    options += ["--curve_file", str(tmp_path / "curve.tsv")]
    al_curve.main(options)
    (tmp_path / "manifest.json").write_text('{"method": "egl", "budget": "1utt"}')
    options += ["--labelled_dir", str(tmp_path), "--select_dir", str(tmp_path), "--round", "1"]
    al_curve.main(options)
    points = worth.read_points(tmp_path / "curve.tsv", "test")
    bought = findings.measured(points, "test", "egl", "random", 0, FREE, Language()).bought
    assert bought[0].startswith("With 1 clip, 2.3 s, selected by egl, the WER on test is 50.00 (")
    assert bought[1] == "Before, it was 50.0 %: +0.0 points."


def test_differences_that_round_to_zero_have_no_sign() -> None:
    assert worth.Estimate(-0.001, -0.004, 0.003).said() == "0.00 (0.00 to 0.00)"
    assert "-" not in worth.Estimate(-0.001, -0.004, 0.003).said(read_language("ja"))


def test_scores_over_decades_have_plain_numbers_on_their_axis() -> None:
    import matplotlib as mpl

    scores = pd.Series(np.geomspace(0.05, 500, 40))
    with mpl.rc_context(plots.style()):
        figure, (panel,) = plots._panels(1)
        plots._histogram(panel, scores, scores > 10, "egl", str.format)
        figure.draw_without_rendering()
        labels = [t.get_text() for t in panel.get_xticklabels() + panel.get_xticklabels(minor=True)]
    assert {"0.1", "10", "100"} <= set(labels)
    assert not "".join(labels).translate(dict.fromkeys(map(ord, "0123456789.")))


def test_the_lowest_panel_of_every_column_has_numbers_below() -> None:
    _, panels = plots._panels(plots.COLUMNS + 1, share=True)
    below = [panel.xaxis.get_tick_params()["labelbottom"] for panel in panels]
    assert below == [False] + [True] * plots.COLUMNS


def test_differing_words_are_marked() -> None:
    assert marked("one tree", "one three four") == [
        ["same", "one "],
        ["other", "tree"],
        ["missing", " four"],
    ]
    assert marked("two", "one two") == [["missing", "one "], ["same", "two"]]
    assert marked("東東都", "東京都") == [["same", "東"], ["other", "東"], ["same", "都"]]
    assert words("สวัสดี a") == ["สวั", "ส", "ดี", "a"] or len(words("สวัสดี a")) >= 4
    assert marked("", "a b") == [["missing", "a b"]]
    assert marked("a", "") == [["other", "a"]]


def test_a_text_keeps_its_own_spaces() -> None:
    texts = ["東京とです", "東京都です", "東京 です", "2024年 a b", "2024 年 b  a", "", "b"]
    for text in texts:
        for other in texts:
            pieces = marked(text, other)
            assert "".join(part for mark, part in pieces if mark != "missing") == text
            records = Records("r", "t", [Column("x", TEXTS)], [[[["", pieces]]]])
            assert records.table.rows == [[text]]


def test_the_make_up_adds_up() -> None:
    import pandas as pd

    pool = pd.Series({f"u{i}": 1.0 + i / 10 for i in range(40)})
    snr = {uid: "clean" if i % 2 else f"{i / 2:.1f}" for i, uid in enumerate(pool.index)}
    tables = makeup.shares(pool, pool.head(10), {"utt2snr": snr}, Language())
    assert [table.head[0] for table in tables] == ["duration, seconds", "noise (SNR, dB)"]
    for table in tables:
        figures = np.array([row[1:] for row in table.rows])
        np.testing.assert_allclose(figures.sum(0), 100)
    assert tables[1].rows[-1][0] == "clean"


def test_the_package_has_the_page_s_parts() -> None:
    root = Path(plots.__file__).parent
    text = (root.parents[1] / "setup.py").read_text()
    assert '"page.html.j2", "report.*", "strings/*.yaml", "vendor/*"' in text
    assert "MIT" in (root / "vendor" / "dataTables.LICENSE.txt").read_text()
