"""Text for next-character prediction: a vocabulary of its characters, cut into blocks. Plain numpy."""

from __future__ import annotations

import numpy as np

from simgmc.core.errors import SimgmcError

TEST_SHARE = 0.1
"""The last tenth of a text is its test set, as is usual for Tiny Shakespeare."""


def read_text_blocks(
    content: bytes, name: str, block: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, int]:
    """A text as blocks of characters, each labelled with the character that follows it.

    Characters are numbered in the order of their code points. Blocks follow each other without
    overlap, so that in one pass over the data each character is predicted once; the test set
    is the text's end, whose blocks share no character with the training set.

    Returns:
        training inputs (n, block) and labels (n, block), test inputs and labels, all int64, and
        the number of different characters.

    Raises:
        SimgmcError: not UTF-8, or too short for one block of each.
    """
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SimgmcError(f"{name}: not UTF-8 text: byte {error.start} cannot be read") from None
    codes = np.frombuffer(text.encode("utf-32-le"), "<u4")
    characters, numbers = np.unique(codes, return_inverse=True)
    numbers = numbers.reshape(-1).astype(np.int64)
    cut = len(numbers) - int(len(numbers) * TEST_SHARE)
    parts = []
    for split, part in (("training", numbers[:cut]), ("test", numbers[cut:])):
        blocks = (len(part) - 1) // block
        if blocks < 1:
            raise SimgmcError(
                f"{name}: {len(numbers)} characters; its {split} part needs at least block + 1 = {block + 1}, it has "
                f"{len(part)}"
            )
        parts += [part[: blocks * block].reshape(blocks, block), part[1 : blocks * block + 1].reshape(blocks, block)]
    return *parts, len(characters)
