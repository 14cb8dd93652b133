"""The port for Prometheus: loopback only, numbers of the ledger only, and never a word about what went wrong."""

import http.client
import re
from pathlib import Path

import pytest
from tests.consortia import Consortium, asked

from wardround.client.liveview import live_view
from wardround.client.metricsport import metrics, serve_metrics
from wardround.common.errors import StorageError
from wardround.common.trust.ledger import LEDGER

SAMPLE = re.compile(r"wardround_[a-z_]+\{[a-z]+=\"[^\"]*\"(,[a-z]+=\"[^\"]*\")*\} ([0-9.e-]+|\+Inf)")


@pytest.fixture
def made(tmp_path: Path) -> Consortium:
    found = Consortium(tmp_path, names=("north",))
    found.approve("north", asked())
    found.spend("north", asked(), 2)
    return found


def ask(port: int, path: str = "/metrics", host: str = "") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", path, headers={"Host": host} if host else {})
    answer = connection.getresponse()
    return answer.status, answer.read().decode()


def test_what_is_answered_is_the_live_view_in_the_text_format(made: Consortium) -> None:
    folder = made.site("north")
    with serve_metrics(folder, 0) as port:
        status, text = ask(port)
    assert (status, text) == (200, metrics(live_view(folder)))
    samples = [line for line in text.splitlines() if not line.startswith("#")]
    assert all(SAMPLE.fullmatch(line) for line in samples)
    assert f'wardround_round{{study="asked",protocol="{asked().digest[:16]}"}} 2' in samples
    assert 'wardround_epsilon_cap{against="everyone-else"} +Inf' in samples


def test_a_page_of_another_host_reads_nothing(made: Consortium) -> None:
    with serve_metrics(made.site("north"), 0) as port:
        assert ask(port, host="evil.example.org") == (404, "")
        assert ask(port, host=f"localhost:{port}")[0] == 200
        assert ask(port, path="/") == (404, "")


def test_what_goes_wrong_is_one_status_without_a_word(made: Consortium) -> None:
    path = made.site("north") / "ledger" / LEDGER
    path.write_bytes(path.read_bytes().replace(b'"releases":6', b'"releases":7'))
    with serve_metrics(made.site("north"), 0) as port:
        assert ask(port) == (503, "")


def test_a_taken_port_is_said(made: Consortium) -> None:
    with (
        serve_metrics(made.site("north"), 0) as port,
        pytest.raises(StorageError, match=f"could not listen on 127.0.0.1:{port}"),
        serve_metrics(made.site("north"), port),
    ):
        pass


def test_it_ends_with_its_block(made: Consortium) -> None:
    with serve_metrics(made.site("north"), 0) as port:
        pass
    with pytest.raises(ConnectionRefusedError):
        ask(port)
