"""A key's fingerprint as words that two people compare on the telephone.

One word stands for one byte: 16 words are the first 128 bits of the fingerprint, so that finding another key with the
same words takes about 2**128 tries. The words of the list differ from each other by at least three letters, in
their first three letters and in their Soundex code, so that a word misheard or mistyped is no other word of it. The
list never changes: words that were compared once stay valid.

    >>> spoken("00ff" * 16).split()[:3]
    ['acorn', 'zodiac', 'acorn']

Source: Juola (1996), "Whole-word phonetic distances and the PGPfone alphabet", for words in place of digits.
"""

import difflib
import re
from collections.abc import Sequence
from typing import Final

from wardround.common.errors import TrustError, UsageError

COUNT: Final = 16

WORDS: Final[tuple[str, ...]] = tuple(
    """
acorn address album alphabet amber anchor animal apple apron artist athlete atlas autumn avenue
badger balcony bamboo banana barrel basket beaver bicycle border bottle branch bridge broom buffalo
butter cabbage cactus camel candle carpet ceiling cello chalk cherry chimney circus clarinet clover
coconut coffee compass copper coral cotton cousin crayon cricket daisy dancer decade delta desert
diamond dolphin donkey drawer dustpan eagle echo elbow elephant emerald engine envelope equator
evening exhibit fabric family farmer feather fiddle finger flamingo flute forest fossil fountain
freezer furnace galaxy garage giraffe glacier goblet gondola gravel guitar gymnast hamster helmet
hexagon horizon hotel hydrant iceberg igloo insect island ivory jaguar jasmine jigsaw journal
juggler juniper kangaroo kayak keyboard kidney kingdom kitchen lagoon lantern lavender legend lemon
leopard library lily lizard lobster lunch machine magnet mammal mango marble meadow melody mermaid
midnight mirror mitten morning mosaic muffin mushroom napkin nectar needle nephew nickel north
notebook nugget nutmeg oatmeal ocean octopus office olive onion opera orange orbit orchard ostrich
oxygen package painter palace papaya parrot pasture peanut pebble pelican pencil piano picnic pilot
plumber potato pretzel pumpkin puppet puzzle pyramid quarry question quilt rabbit radio raisin
recipe reindeer ribbon rider ruby runner sailor salad sandal satin saxophone scarf school scooter
season seven sherbet shoulder silver skeleton snowman spinach squirrel stable stove sugar summer
sunset symphony temple tennis thunder toast tortoise tractor treasure triangle trumpet tulip turkey
umbrella uncle unicorn upstairs vacuum valley vanilla victory village vinegar violin volcano voyage
vulture waffle walnut water wedding whistle widow wreath yacht yesterday zebra zigzag zinc zodiac
""".split()  # noqa: SIM905  (a list of words is read as text)
)

_DIGITS: Final = re.compile("[0-9a-f]{64}")
_INDEX: Final = {word: number for number, word in enumerate(WORDS)}


def spoken(fingerprint: str) -> str:
    """The 16 words of a fingerprint, with spaces between.

    Args:
        fingerprint: SHA-256 in hexadecimal, 64 digits.

    Raises:
        UsageError: It is none.
    """
    if not _DIGITS.fullmatch(fingerprint):
        raise UsageError("expected a fingerprint of 64 hexadecimal digits")
    return " ".join(WORDS[byte] for byte in bytes.fromhex(fingerprint)[:COUNT])


def spoken_lines(fingerprint: str) -> tuple[str, ...]:
    """The same as four lines of four words: how a screen shows them."""
    words = spoken(fingerprint).split()
    return tuple(" ".join(words[at : at + 4]) for at in range(0, COUNT, 4))


def digits(text: str) -> str:
    """What was heard as hexadecimal: 32 digits from 16 words, or all 64 from a whole fingerprint.

    Capitals, commas, hyphens and line breaks do not matter.

    Raises:
        UsageError: Too few or too many words, or one that is not in the list; the nearest one is named.
    """
    plain = text.strip().lower()
    if _DIGITS.fullmatch(joined := re.sub(r"\s", "", plain)):
        return joined
    words = [word for word in re.split(r"[^a-z0-9]+", plain) if word]
    for number, word in enumerate(words, start=1):
        if word not in _INDEX:
            raise UsageError(
                f"word {number}, {word!r:.40}, is not in the list of words", advice=_nearest(word)
            )
    if len(words) != COUNT:
        raise UsageError(
            f"expected {COUNT} words, found {len(words)}",
            advice="ask for the whole line again, one word after another",
        )
    return bytes(_INDEX[word] for word in words).hex()


def confirm(text: str, fingerprint: str, *, whose: str) -> None:
    """Compare what a person heard or typed with the key at hand.

    Args:
        text: The 16 words, or the 64 digits of the fingerprint.
        fingerprint: Of the key at hand.
        whose: Whose key it claims to be, for the message.

    Guarantees:
        Returns only if at least the first 128 bits are the same. The words of the key at hand are not in the message:
        they would be copied instead of asked for.

    Raises:
        UsageError: It is neither words nor a fingerprint.
        TrustError: It is another key's.
    """
    heard = digits(text)
    if not fingerprint.startswith(heard):
        raise TrustError(
            f"the words do not belong to the key of {whose} in this file: {_difference(heard, fingerprint)}",
            advice=f"ask {whose} for the words again, on a telephone number that you knew before. If they still "
            "differ, somebody changed the file on its way: accept nothing",
        )


def _difference(heard: str, fingerprint: str) -> str:
    if len(heard) == len(fingerprint):
        return "the fingerprint is another one"
    wrong = [n for n, (a, b) in enumerate(zip(_bytes(heard), _bytes(fingerprint), strict=False), 1) if a != b]
    return f"{len(wrong)} of {COUNT} words differ, the first is word {wrong[0]}"


def _bytes(text: str) -> Sequence[int]:
    return bytes.fromhex(text)


def _nearest(word: str) -> str:
    found = difflib.get_close_matches(word, WORDS, n=1)
    return f"did you mean {found[0]!r}?" if found else "ask for this word again, letter by letter"
