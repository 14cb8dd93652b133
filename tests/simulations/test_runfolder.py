"""The run folder: claimed once, resumed only by the same wish, complete only with its results."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from tests.runs import open_run, study

from wardround.common.errors import StorageError, UsageError
from wardround.common.study.reader import load
from wardround.simulations.resultrows import CurveRow
from wardround.simulations.runfolder import RunFacts, RunFolder, file_digest
from wardround.simulations.runfolder import open_run as opened

FACTS = RunFacts(protocol="ab", data="cd", backend="inline", seed=0, folds=0, leave_one_out="no")


def test_the_same_wish_claims_a_folder_again(tmp_path: Path) -> None:
    RunFolder(tmp_path / "a" / "run").claim(FACTS)
    RunFolder(tmp_path / "a" / "run").claim(FACTS)
    found = json.loads((tmp_path / "a" / "run" / "run.json").read_text())
    assert (found["format"], found["version"], found["protocol"]) == ("wardround-run", 1, "ab")


@pytest.mark.parametrize(
    "change",
    [
        {"protocol": "x"},
        {"data": "x"},
        {"backend": "ray"},
        {"seed": 1},
        {"folds": 2},
        {"leave_one_out": "yes"},
    ],
)
def test_another_wish_is_refused_and_named(change: dict[str, object], tmp_path: Path) -> None:
    RunFolder(tmp_path).claim(FACTS)
    with pytest.raises(UsageError, match=f"unfinished run with another {next(iter(change))}"):
        RunFolder(tmp_path).claim(replace(FACTS, **change))  # type: ignore[arg-type]
    RunFolder(tmp_path).claim(FACTS)


def test_a_folder_with_anything_else_in_it_is_not_taken(tmp_path: Path) -> None:
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(UsageError, match="not empty"):
        RunFolder(tmp_path).claim(FACTS)
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.docx"]


def test_a_crash_before_the_first_file_does_not_block_the_folder(tmp_path: Path) -> None:
    (tmp_path / ".run.json.draft").write_bytes(b'{"form')
    RunFolder(tmp_path).claim(FACTS)
    assert (tmp_path / "run.json").exists()


def test_a_file_in_the_way_is_named(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    for path in (tmp_path / "run", tmp_path / "run" / "below"):
        with pytest.raises(UsageError, match="could not make the folder"):
            RunFolder(path).claim(FACTS)


def test_a_run_of_a_newer_release_is_not_resumed(tmp_path: Path) -> None:
    RunFolder(tmp_path).claim(FACTS)
    path = tmp_path / "run.json"
    path.write_text(path.read_text().replace('"version":1', '"version":2'))
    with pytest.raises(StorageError, match="version"):
        RunFolder(tmp_path).claim(FACTS)


def test_the_protocol_is_kept_with_the_loadings_that_it_names(tmp_path: Path) -> None:
    source = tmp_path / "source"
    (source / "public").mkdir(parents=True)
    (source / "public" / "loadings.csv").write_text("feature,PC1\nage,1\n")
    inputs = replace(
        study().inputs,
        loadings="public/loadings.csv",
        loadings_sha256=file_digest(source / "public" / "loadings.csv"),
    )
    run = RunFolder(tmp_path / "run")
    run.claim(FACTS)
    run.keep_protocol(replace(study(), inputs=inputs), source)
    assert load(run.protocol) == replace(study(), inputs=inputs)
    assert (run.path / "public" / "loadings.csv").read_text() == "feature,PC1\nage,1\n"


def test_the_last_word_on_a_round_counts_and_a_torn_line_does_not(tmp_path: Path) -> None:
    run = RunFolder(tmp_path)
    run.claim(FACTS)
    for round_, value in ((2, 0.5), (1, 0.25), (2, 0.75)):
        run.add_curves([CurveRow(round=round_, on="all", metric="auc", value=value)])
    with (tmp_path / "curves.jsonl").open("ab") as file:
        file.write(b'{"round":3,"on":"al')
    assert [(row.round, row.value) for row in run.curves()] == [(1, 0.25), (2, 0.75)]
    whole = (tmp_path / "curves.jsonl").read_bytes().splitlines()[:-1]
    assert {json.loads(line)["private"] for line in whole} == {False}


def test_what_was_never_measured_is_an_empty_curve(tmp_path: Path) -> None:
    assert RunFolder(tmp_path).curves() == ()


def test_a_run_is_there_when_its_results_are(tmp_path: Path) -> None:
    RunFolder(tmp_path).claim(FACTS)
    with pytest.raises(StorageError, match="no finished run"):
        opened(tmp_path)
    assert opened(open_run()).model.exists()


def test_a_finished_run_is_never_claimed_again() -> None:
    with pytest.raises(UsageError, match="finished run"):
        RunFolder(open_run()).claim(FACTS)


def test_the_digest_of_a_file_is_its_sha256(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    # FIPS 180-2, appendix B.1
    assert file_digest(tmp_path / "a") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    with pytest.raises(StorageError, match="could not read"):
        file_digest(tmp_path / "b")
