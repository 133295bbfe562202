"""Philox against the vectors of its authors and against its definition in Python's whole numbers."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from distprop.kernels.random import philox_words, random_words, uniform32, uniform64

# Random123 1.14, tests/kat_vectors: "philox4x32 10", counter, key, result.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]

words_of_32_bits = st.integers(0, 2**32 - 1)


def philox_by_definition(counter: list[int], key: list[int]) -> list[int]:
    c, k = list(counter), list(key)
    for _ in range(10):
        first, second = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [second // 2**32 ^ c[1] ^ k[0], second % 2**32, first // 2**32 ^ c[3] ^ k[1], first % 2**32]
        k = [(k[0] + 0x9E3779B9) % 2**32, (k[1] + 0xBB67AE85) % 2**32]
    return c


def compiled_philox(counter: list[int], key: list[int]) -> list[int]:
    words = np.full((1, 4), 2**63, np.uint64)
    philox_words(words, np.array([counter], np.uint64), np.array([key], np.uint64))
    return words[0].tolist()


def numbers(text: str) -> list[int]:
    return [int(word, 16) for word in text.split()]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_known_answers(counter, key, answer):
    assert compiled_philox(numbers(counter), numbers(key)) == numbers(answer)
    assert philox_by_definition(numbers(counter), numbers(key)) == numbers(answer)


@given(
    st.lists(words_of_32_bits, min_size=4, max_size=4),
    st.lists(words_of_32_bits, min_size=2, max_size=2),
)
def test_philox_is_its_definition(counter, key):
    assert compiled_philox(counter, key) == philox_by_definition(counter, key)


@given(
    st.integers(0, 2**63 - 1), st.integers(0, 15), st.integers(0, 2**12 - 1), st.integers(0, 2**48 - 1),
    st.integers(0, 2**40 - 1), st.integers(0, 2**24 - 1),
)  # fmt: skip
def test_every_use_within_the_limits_has_a_counter_of_its_own(seed, purpose, layer, time, index, block):
    # One number of 128 bits, of which each part has its own: so two uses can't share one.
    counter = index + 2**40 * (block + 2**24 * (time + 2**48 * (layer + 2**12 * purpose)))
    parts = [counter >> shift & 0xFFFFFFFF for shift in (0, 32, 64, 96)]
    expected = philox_by_definition(parts, [seed % 2**32, seed >> 32])
    assert [int(word) for word in random_words(seed, purpose, layer, time, index, block)] == expected


@pytest.mark.parametrize("bits", [0, 1, 255, 256, 2**31, 2**32 - 1])
def test_uniform_float32_is_the_top_24_bits(bits):
    value = uniform32(np.uint64(bits))
    assert float(value) == (bits >> 8) / 2**24 < 1


@pytest.mark.parametrize("high", [0, 1, 31, 32, 2**31, 2**32 - 1])
@pytest.mark.parametrize("low", [0, 63, 64, 2**32 - 1])
def test_uniform_float64_is_the_top_53_bits(high, low):
    value = uniform64(np.uint64(high), np.uint64(low))
    assert value == ((high >> 5) * 2**26 + (low >> 6)) / 2**53 < 1
