"""Lies about a finished study: what an insider could write into its record. Each changes one thing, consistently."""

import json
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
from safetensors import safe_open
from safetensors.numpy import save
from tests.auditing import NAMES, Record, ledger_of, with_approval

from wardround.common.learning.parameters import parameters_digest
from wardround.common.privacy.events import encode
from wardround.common.trust.identity import SigningKey

Lie = Callable[[Record, random.Random], Record]


def a_round(honest: Record, draw: random.Random) -> int:
    return honest.at("round", draw.randrange(3))


def other_noise(honest: Record, draw: random.Random) -> Record:
    event = {**encode(honest.protocol.event()), "noise_multiplier": draw.choice(["1.0", "1.99", "4.0"])}
    return honest.with_word(a_round(honest, draw), draw.choice(NAMES), event=event)


def other_rate_or_steps(honest: Record, draw: random.Random) -> Record:
    event = encode(honest.protocol.event())
    change = draw.choice([{"steps": 2}, {"sample_rate": "0.5"} if "sample_rate" in event else {"honest": 1}])
    return honest.with_word(a_round(honest, draw), draw.choice(NAMES), event={**event, **change})


def approval_missing(honest: Record, draw: random.Random) -> Record:
    return honest.without(honest.at("approval", draw.randrange(3)))


def approval_of_another_site(honest: Record, draw: random.Random) -> Record:
    one, two = draw.sample(range(3), 2)
    stolen = honest.lines[honest.at("approval", two)][1]["statement"]
    return honest.with_line(honest.at("approval", one), statement=stolen)


def approval_after_the_first_round(honest: Record, draw: random.Random) -> Record:
    place, first = honest.at("approval", draw.randrange(3)), honest.at("round")
    lines = [line for number, line in enumerate(honest.lines) if number != place]
    return replace(honest, lines=(*lines[:first], honest.lines[place], *lines[first:]))


def over_budget(honest: Record, draw: random.Random) -> Record:
    """More attempts than were reserved: a void one is repeated."""
    place = a_round(honest, draw)
    kind, data = honest.lines[place]
    void = ("void", {**data, "result_model": data["base_model"]})
    return replace(
        honest, lines=(*honest.lines[:place], *[void] * 4, (kind, data), *honest.lines[place + 1 :])
    )


def round_left_out(honest: Record, draw: random.Random) -> Record:
    return honest.without(a_round(honest, draw))


def rounds_swapped(honest: Record, draw: random.Random) -> Record:
    one, two = (honest.at("round", number) for number in draw.sample(range(3), 2))
    lines = list(honest.lines)
    lines[one], lines[two] = lines[two], lines[one]
    return replace(honest, lines=tuple(lines))


def round_invented(honest: Record, draw: random.Random) -> Record:
    place = a_round(honest, draw)
    data = {**honest.lines[place][1], "round": 4}
    return replace(honest, lines=(*honest.lines[:-2], ("round", data), *honest.lines[-2:]))


def false_result(honest: Record, draw: random.Random) -> Record:
    """Another model than the sums give, carried on consistently to the released one."""
    place = honest.at("round", 2)
    model = moved(honest, draw)
    name = parameters_digest(from_layers(model))
    lied = honest.with_line(place, result_model=name)
    lied = lied.with_line(lied.at("result"), model=name).with_line(lied.at("finish"), model=name)
    return lied.with_file("model.safetensors", model)


def false_model(honest: Record, draw: random.Random) -> Record:
    return honest.with_file("model.safetensors", moved(honest, draw))


def moved(honest: Record, draw: random.Random) -> bytes:
    """The released model with one weight a little different."""
    place = Path(mkdtemp()) / "model.safetensors"
    place.write_bytes(honest.files["model.safetensors"])
    with safe_open(str(place), framework="numpy") as found:
        facts, arrays = found.metadata(), {name: found.get_tensor(name) for name in found.keys()}  # noqa: SIM118
    layer = draw.choice([name for name in arrays if name.startswith("model.")])
    arrays[layer] = arrays[layer] + np.float32(10.0 ** draw.randrange(-4, 1))
    return save(arrays, metadata=facts)


def from_layers(model: bytes) -> dict[str, np.ndarray]:
    place = Path(mkdtemp()) / "model.safetensors"
    place.write_bytes(model)
    with safe_open(str(place), framework="numpy") as found:
        return {n.removeprefix("model."): found.get_tensor(n) for n in found.keys() if n.startswith("model.")}  # noqa: SIM118


def false_sum(honest: Record, draw: random.Random) -> Record:
    """The log names another sum or another update than was sent."""
    place = a_round(honest, draw)
    other = f"{draw.getrandbits(256):064x}"
    if honest.protocol.joint:
        said = honest.lines[place][1]["secure_sum"]
        assert isinstance(said, dict)
        return honest.with_line(place, secure_sum={**said, "sum": other})
    return honest.with_word(place, draw.choice(NAMES), update=other)


def false_ledger_head(honest: Record, draw: random.Random) -> Record:
    place, site = a_round(honest, draw), draw.choice(NAMES)
    if draw.random() < 0.5:
        return honest.with_word(place, site, ledger_seq=1)
    return honest.with_word(place, site, ledger_head=f"{draw.getrandbits(256):064x}")


def words_swapped(honest: Record, draw: random.Random) -> Record:
    """What one site said in a round, said by another one, or in another round."""
    place, (one, two) = a_round(honest, draw), draw.sample(NAMES, 2)
    sites = honest.lines[place][1]["sites"]
    assert isinstance(sites, dict)
    return honest.with_line(place, sites={**sites, one: sites[two]})


def words_without_a_head(honest: Record, draw: random.Random) -> Record:
    place, site = a_round(honest, draw), draw.choice(NAMES)
    return honest.with_word(place, site, head="")


def ledger_rolled_back(honest: Record, draw: random.Random) -> Record:
    name = ledger_of(draw.choice(NAMES))
    lines = honest.files[name].splitlines(keepends=True)
    return honest.with_file(name, b"".join(lines[: draw.randrange(1, len(lines) - 1)]))


def archive_of_a_round_missing(honest: Record, draw: random.Random) -> Record:
    place = f"archive/{draw.randrange(1, 4)}-1/"
    for name in [name for name in honest.files if name.startswith(place)]:
        honest = honest.with_file(name, None)
    return honest


def archive_file_missing(honest: Record, draw: random.Random) -> Record:
    return honest.with_file(draw.choice([n for n in sorted(honest.files) if n.startswith("archive/")]), None)


def archive_file_of_another_round(honest: Record, draw: random.Random) -> Record:
    one, two = draw.sample([n for n in sorted(honest.files) if n.startswith("archive/")], 2)
    return honest.with_file(one, honest.files[two])


def claim_too_small(honest: Record, draw: random.Random) -> Record:
    return claim_times(draw.choice([0.5, 0.99]), honest, draw)


def claim_a_little_too_large(honest: Record, draw: random.Random) -> Record:
    """What one more charge could explain: only a ledger says that there was none."""
    return claim_times(1.02, honest, draw)


def claim_times(factor: float, honest: Record, draw: random.Random) -> Record:
    claim = json.loads(honest.files["results.json"])
    site = draw.choice(claim["sites"])
    against = draw.choice(sorted(site["epsilon"]))
    site["epsilon"][against] *= factor
    return honest.with_file("results.json", json.dumps(claim).encode())


def claim_about_something_else(honest: Record, draw: random.Random) -> Record:
    claim = json.loads(honest.files["results.json"])
    claim[draw.choice(["delta", "rounds", "void"])] += draw.choice([1e-3, 1])
    return honest.with_file("results.json", json.dumps(claim).encode())


def other_protocol(honest: Record, draw: random.Random) -> Record:
    """The bundle shows terms that nobody approved."""
    text = honest.files["study.toml"].decode()
    old, new = draw.choice(
        [("noise_multiplier = 2.0", "noise_multiplier = 3.0"), ("rounds = 3", "rounds = 2")]
    )
    assert old in text
    return honest.with_file("study.toml", text.replace(old, new).encode())


def other_roster(honest: Record, draw: random.Random) -> Record:
    """A party's key in the log is exchanged for one that the coordinator made."""
    roster = honest.lines[honest.at("roster")][1]
    sites = dict(roster["sites"])  # type: ignore[call-overload]
    sites[draw.choice(NAMES)] = SigningKey.generate().public.encode()
    return honest.with_line(honest.at("roster"), sites=sites)


def attempt_without_a_site(honest: Record, draw: random.Random) -> Record:
    place, silent = a_round(honest, draw), draw.choice(NAMES)
    sites = honest.lines[place][1]["sites"]
    assert isinstance(sites, dict)
    return honest.with_line(place, sites={name: said for name, said in sites.items() if name != silent})


def reply_digest_dropped(honest: Record, draw: random.Random) -> Record:
    place, site = a_round(honest, draw), draw.choice(NAMES)
    sites = honest.lines[place][1]["sites"]
    assert isinstance(sites, dict)
    kept = {name: value for name, value in sites[site].items() if name != "reply"}
    return honest.with_line(
        place, sites={**sites, site: kept if draw.random() < 0.5 else {**kept, "reply": ""}}
    )


def approval_malformed(honest: Record, draw: random.Random) -> Record:
    """One hospital signs an approval with a field that is missing, unknown, or of another type or range."""
    change: dict[str, object] = draw.choice(
        [
            {"delta": draw.choice(["nan", "1e-5", "2.0", 1])},
            {"releases": draw.choice([True, -1, "6", 2**40])},
            {"event": draw.choice([{}, {"kind": "non-private"}, "none"])},
            {"ledger": draw.choice([{"seq": 1}, {"seq": -1, "hash": "a" * 64}, 1])},
            {"roster": "a" * 63},
            {"by": "nobody"},
            {"note": "x"},
            {draw.choice(["event", "releases", "delta", "ledger", "roster", "code"]): None},
        ]
    )
    return with_approval(honest, draw.choice(NAMES), **change)


def approval_of_unknown_members(honest: Record, draw: random.Random) -> Record:
    return with_approval(honest, draw.choice(NAMES), roster=f"{draw.getrandbits(256):064x}")


def claim_beyond_the_approval(honest: Record, draw: random.Random) -> Record:
    """More than all releases that were reserved can have cost."""
    claim = json.loads(honest.files["results.json"])
    site = draw.choice(claim["sites"])
    against = draw.choice(sorted(site["epsilon"]))
    site["epsilon"][against] = site["epsilon"][against] * 2 + draw.choice([0.1, 1.0, 10.0])
    return honest.with_file("results.json", json.dumps(claim).encode())


LIES: tuple[Lie, ...] = (
    other_noise,
    other_rate_or_steps,
    approval_missing,
    approval_of_another_site,
    approval_after_the_first_round,
    over_budget,
    round_left_out,
    rounds_swapped,
    round_invented,
    false_result,
    false_model,
    false_sum,
    false_ledger_head,
    words_swapped,
    words_without_a_head,
    ledger_rolled_back,
    archive_of_a_round_missing,
    archive_file_missing,
    archive_file_of_another_round,
    attempt_without_a_site,
    reply_digest_dropped,
    approval_malformed,
    approval_of_unknown_members,
    claim_too_small,
    claim_a_little_too_large,
    claim_beyond_the_approval,
    claim_about_something_else,
    other_protocol,
    other_roster,
)
