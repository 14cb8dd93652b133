"""The public loadings file is the one the protocol names, or it is refused."""

from pathlib import Path

import numpy as np
import pytest

from wardround.common.errors import ProtocolError
from wardround.common.formats import digest
from wardround.common.learning.loadings import Loadings, parse_loadings, read_loadings
from wardround.common.study.terms import InputTerms

DATA = b"feature,PC1,PC2\nTP53,0.6,0\nMYC,0.8,-1e-1\n"


def terms(path: str = "pca.csv", data: bytes = DATA) -> InputTerms:
    return InputTerms(loadings=path, loadings_sha256=digest(data))


def test_the_named_file_is_read(tmp_path: Path) -> None:
    (tmp_path / "pca.csv").write_bytes(DATA)
    found = read_loadings(terms(), tmp_path)
    assert found is not None
    assert (found.features, found.components) == (("TP53", "MYC"), ("PC1", "PC2"))
    assert np.array_equal(found.matrix, np.array([[0.6, 0], [0.8, -0.1]], np.float32))


def test_a_protocol_without_loadings_reads_nothing() -> None:
    assert read_loadings(InputTerms(), None) is None


def test_an_edited_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pca.csv").write_bytes(DATA.replace(b"0.6", b"0.7"))
    with pytest.raises(ProtocolError, match="expected SHA-256"):
        read_loadings(terms(), tmp_path)


@pytest.mark.parametrize("path", ["../pca.csv", "/etc/passwd", "a/../../pca.csv"])
def test_a_path_out_of_the_studys_folder_is_refused(path: str, tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match=r"inside the folder"):
        read_loadings(terms(path), tmp_path)


def test_an_absent_file_and_an_unknown_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ProtocolError, match="cannot read"):
        read_loadings(terms(), tmp_path)
    with pytest.raises(ProtocolError, match="inside the folder"):
        read_loadings(terms(), None)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"feature,PC1\n",
        b"feature\nTP53\n",
        b"feature,PC1\nTP53,x\n",
        b"feature,PC1,PC2\nTP53,1\n",
        b"feature,PC1\nTP53,1,2\n",
        b"feature,PC1,PC2\nTP53,1,2\nMYC,1\n",
        b"feature,PC1\nTP53,nan\n",
        b"feature,PC1\nTP53,inf\n",
        b"feature,PC1\nTP53,1e30\n",
        b"feature,PC1\nTP53,1\nTP53,2\n",
        b"feature,PC1,PC1\nTP53,1,2\n",
        b"\xff\xfe",
    ],
)
def test_a_file_that_is_no_table_of_ordinary_numbers_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="loadings"):
        parse_loadings(data)


def test_loadings_of_another_shape_are_refused() -> None:
    with pytest.raises(ProtocolError, match="shape"):
        Loadings(features=("a",), components=("c",), matrix=np.zeros((2, 1), np.float32))
