"""Words for fingerprints: a list that survives a telephone, and a comparison that lets nothing pass."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from wardround.common.errors import TrustError, UsageError
from wardround.common.formats import digest
from wardround.common.trust.words import COUNT, WORDS, confirm, digits, spoken, spoken_lines

FINGERPRINT = digest(b"a key")
HEX = st.binary(min_size=32, max_size=32).map(bytes.hex)
SOUNDS = {
    letter: str(n)
    for n, letters in enumerate(("bfpv", "cgjkqsxz", "dt", "l", "mn", "r"), 1)
    for letter in letters
}


def distance(a: str, b: str) -> int:
    """Levenshtein's distance."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        before, row = row, [i]
        for j, y in enumerate(b, 1):
            row.append(min(before[j] + 1, row[-1] + 1, before[j - 1] + (x != y)))
    return row[-1]


def soundex(word: str) -> str:
    """Soundex, as the United States' National Archives describe it."""
    code, last = word[0], SOUNDS.get(word[0], "")
    for letter in word[1:]:
        sound = SOUNDS.get(letter, "")
        code += sound if sound != last else ""
        last = sound if letter not in "hw" else last
    return (code + "000")[:4]


def test_soundex_is_the_known_one() -> None:
    assert [soundex(w) for w in ("washington", "tymczak", "pfister")] == ["w252", "t522", "p236"]


def test_no_two_words_look_or_sound_alike() -> None:
    assert len(WORDS) == 256
    assert list(WORDS) == sorted(WORDS)
    assert len({soundex(word) for word in WORDS}) == 256
    assert len({word[:3] for word in WORDS}) == 256
    assert min(distance(a, b) for a, b in itertools.combinations(WORDS, 2)) >= 3


def test_the_list_never_changes() -> None:
    assert (
        digest(" ".join(WORDS).encode()) == "eb720151488bad75d83a03286f763fe7f814b60fdf430a40f5bbe09d44411408"
    )


@given(HEX)
def test_words_are_the_first_128_bits(fingerprint: str) -> None:
    words = spoken(fingerprint)
    assert len(words.split()) == COUNT == 16
    assert digits(words) == fingerprint[:32]
    assert " ".join(spoken_lines(fingerprint)) == words
    confirm(words, fingerprint, whose="north")


@given(HEX, st.integers(0, 15), st.integers(1, 255))
def test_one_wrong_word_is_enough(fingerprint: str, place: int, shift: int) -> None:
    words = spoken(fingerprint).split()
    words[place] = WORDS[(WORDS.index(words[place]) + shift) % 256]
    with pytest.raises(TrustError, match=f"1 of 16 words differ, the first is word {place + 1}"):
        confirm(" ".join(words), fingerprint, whose="north")


def test_how_words_are_typed_does_not_matter() -> None:
    words = spoken(FINGERPRINT).split()
    for text in (", ".join(words).upper(), "-".join(words), "\n".join(words), f"  {FINGERPRINT.upper()} "):
        confirm(text, FINGERPRINT, whose="north")


def test_a_refusal_does_not_show_the_words_of_the_key_at_hand() -> None:
    with pytest.raises(TrustError) as caught:
        confirm(spoken(digest(b"another")), FINGERPRINT, whose="north")
    shown = caught.value.diagnostics()
    assert not set(spoken(FINGERPRINT).split()) & set(shown.replace(",", " ").split())
    assert FINGERPRINT[:8] not in shown
    with pytest.raises(TrustError, match="the fingerprint is another one"):
        confirm(digest(b"another"), FINGERPRINT, whose="north")


@pytest.mark.parametrize("count", [0, 1, 8, 15, 17, 32])
def test_too_few_or_too_many_words_are_refused(count: int) -> None:
    text = " ".join(itertools.islice(itertools.cycle(spoken(FINGERPRINT).split()), count))
    with pytest.raises(UsageError, match=f"expected 16 words, found {count}"):
        confirm(text, FINGERPRINT, whose="north")


def test_a_part_of_the_fingerprint_is_no_comparison() -> None:
    for text in (FINGERPRINT[:32], FINGERPRINT[:63], "0"):
        with pytest.raises(UsageError, match="not in the list of words"):
            confirm(text, FINGERPRINT, whose="north")


def test_a_word_of_no_list_comes_with_the_nearest_one() -> None:
    with pytest.raises(UsageError, match="word 2, 'zebar'") as caught:
        digits("acorn zebar " + "acorn " * 14)
    assert caught.value.advice == "did you mean 'zebra'?"


@pytest.mark.parametrize("text", ["", "0" * 63, "g" * 64, "A" * 64])
def test_only_a_fingerprint_has_words(text: str) -> None:
    with pytest.raises(UsageError, match="64 hexadecimal digits"):
        spoken(text)
