"""A character model: one cell on one-hot characters, a linear map to the next one, and its training."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn.functional import cross_entropy, one_hot

from carrossel import cells
from carrossel.cells.base import State
from carrossel.cells.unrolling import unroll, unroll_states
from carrossel.errors import TrainingError
from carrossel.lab.text.alphabet import bits
from carrossel.lab.units.readout import content

if TYPE_CHECKING:
    from collections.abc import Callable

    from jaxtyping import Float, Int
    from numpy.typing import NDArray
    from torch import Tensor

    from carrossel.cells.base import CellConfig
    from carrossel.lab.text.alphabet import Codes
    from carrossel.lab.text.config import Text

    Values = NDArray[np.float64]

_STREAM = 2048  # a text is cut into streams of at least so many characters, read side by side
_STREAMS = 32
_CLIP = 1.0
_LINES = 10  # of progress
_CHUNK = 512


class Read(NamedTuple):
    """A whole text as a model read it, from a zero state.

    Attributes:
        memory: C of each unit after each character, or h for a cell without C; shape [characters, hidden].
        chances: probability of each character to come next, shape [characters, alphabet].
    """

    memory: Values
    chances: Values


class CharacterModel(nn.Module):
    """One layer of a cell, and a linear map from its h to the next character's logits.

    Args:
        kind: the cell's kind.
        config: its configuration.
        characters: in the alphabet.
        seed: of the initial weights.
    """

    def __init__(self, kind: str, config: CellConfig, characters: int, seed: int) -> None:
        super().__init__()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.cell = cells.registry.load(kind)(characters, config)
            self.next = nn.Linear(config.hidden_size, characters)
        self.characters = characters

    def forward(
        self, codes: Int[Tensor, "time batch"], state: State | None = None
    ) -> tuple[Float[Tensor, "time batch characters"], State]:
        """Logits of the character after each, and the state after the last."""
        hidden, state = unroll(self.cell, one_hot(codes, self.characters).float(), state)
        return self.next(hidden), state


def train_model(model: CharacterModel, codes: Codes, config: Text, tell: Callable[[str], None]) -> None:
    """Teach a model to name the next character, by truncated backpropagation through time.

    The text is cut into streams that are read side by side, from their start to their end and again; a state is carried
    from one stretch of `config.steps` characters to the next, the gradient isn't.

    Args:
        codes: of the training part, shape [characters].
        tell: gets a line of progress now and then.

    Raises:
        TrainingError: if the loss isn't finite.
    """
    torch.set_num_threads(1)  # more would sum in another order, which a thousand steps of learning by heart magnify
    streams = min(max(len(codes) // _STREAM, 1), _STREAMS)
    length = (len(codes) - 1) // streams
    text = torch.from_numpy(codes)
    before = text[: streams * length].view(streams, length).T.contiguous()
    after = text[1 : streams * length + 1].view(streams, length).T.contiguous()
    optimizer = torch.optim.Adam(model.parameters(), lr=config.learning_rate)
    state: State | None = None
    start = seen = 0
    total = 0.0
    model.train()
    with torch.random.fork_rng(devices=[]):  # options such as zoneout draw from torch's own generator
        torch.manual_seed(config.seed)
        for iteration in range(1, config.iterations + 1):
            stretch = slice(start, start + config.steps)
            logits, left = model(before[stretch], state)
            loss = cross_entropy(logits.flatten(0, 1), after[stretch].flatten())
            if not torch.isfinite(loss):
                raise TrainingError(
                    f"text: the loss became {loss.item()}. Lower lab.text.learning_rate ({config.learning_rate:g})."
                )
            optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), _CLIP)
            optimizer.step()
            start += config.steps
            kept = [None if part is None else part.detach().clone() for part in left]
            state = None if start >= length else State(*kept)  # type: ignore[arg-type]  # h is never None
            start = 0 if state is None else start
            total, seen = total + bits(loss.item()), seen + 1
            if iteration % max(config.iterations // _LINES, 1) == 0 or iteration == config.iterations:
                tell(
                    f"text: iteration {iteration}/{config.iterations}  training loss {total / seen:.2f} bits per character"
                )
                total, seen = 0.0, 0
    model.eval()


@torch.inference_mode()
def read_through(model: CharacterModel, codes: Codes) -> Read:
    """Run a whole text through a model, character by character, from a zero state."""
    x = torch.from_numpy(codes)[:, None]
    state = model.cell.initial_state(1)
    memory, chances = [], []
    for part in x.split(_CHUNK):
        states = unroll_states(model.cell, one_hot(part, model.characters).float(), state)
        state = states[-1]
        memory.append(torch.cat([content(model.cell, each) for each in states]))
        chances.append(model.next(torch.cat([each.h for each in states])).softmax(-1))
    return Read(torch.cat(memory).double().numpy(), torch.cat(chances).double().numpy())


def loss_bits(chances: Values, codes: Codes, rows: slice) -> float:
    """Mean cross-entropy, bits per character, of the characters `codes[rows]`, each given those before it.

    Args:
        chances: of the character after each, shape [characters, alphabet].
        rows: from 1 on: nothing was said of the first character.
    """
    rows = slice(*rows.indices(len(codes)))
    ahead = chances[rows.start - 1 : rows.stop - 1]
    found = np.take_along_axis(ahead, codes[rows, None], axis=1)
    return float(-np.log2(np.maximum(found, np.finfo(np.float64).tiny)).mean())
