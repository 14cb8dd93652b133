"""The ClientApp: whatever goes wrong outside a site's own refusals leaves as one word."""

from contextlib import AbstractContextManager

import pytest
from flwr.app import Context, Message, RecordDict
from flwr.clientapp import ClientApp
from tests.studies import keys_and_roster

from wardround.client.app import SiteFailed, client_app
from wardround.client.site import Site
from wardround.common.errors import StorageError, TrustError
from wardround.common.flower.internals import become_task, deliver, name_message
from wardround.common.flower.records import pack

KEYS, ROSTER = keys_and_roster("north")
CONTEXT = Context(run_id=1, node_id=10, node_config={"site": "north"}, state=RecordDict(), run_config={})


def arrived(content: RecordDict, kind: str) -> Message:
    become_task()
    message = Message(content, 10, kind)
    name_message(message)
    return deliver(message)


def failing(error: BaseException) -> ClientApp:
    def site_for(context: Context) -> AbstractContextManager[Site]:
        raise error

    return client_app(site_for)


@pytest.mark.parametrize("kind", ["train", "query"])
@pytest.mark.parametrize(
    "error",
    [
        StorageError("the ledger /hospital/ledger is in use", advice="wait"),
        TrustError("patient 7"),
        KeyError("MRN-000007"),
        RuntimeError("anything"),
    ],
)
def test_an_unexpected_failure_shows_its_reason_to_nobody(kind: str, error: Exception) -> None:
    with pytest.raises(SiteFailed) as caught:
        failing(error)(arrived(pack(b"x"), kind), CONTEXT)
    assert str(caught.value) == ""
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__  # Flower's logs print what is shown, not what was hidden


def test_an_envelope_is_looked_for_only_after_the_site_was_found() -> None:
    asked: list[object] = []

    def site_for(context: Context) -> AbstractContextManager[Site]:
        asked.append(context.node_config["site"])
        raise TrustError("this node's configuration names no site of the run")

    with pytest.raises(SiteFailed):
        client_app(site_for)(arrived(RecordDict(), "train"), CONTEXT)
    assert asked == ["north"]


@pytest.mark.parametrize("kind", ["evaluate", "train.other"])
def test_a_kind_of_message_that_is_not_ours_is_not_handled(kind: str) -> None:
    with pytest.raises(ValueError, match=r"No .* function registered"):
        failing(RuntimeError())(arrived(pack(b"x"), kind), CONTEXT)


def test_control_c_reaches_the_process() -> None:
    with pytest.raises(KeyboardInterrupt):
        failing(KeyboardInterrupt())(arrived(pack(b"x"), "train"), CONTEXT)
