"""Minimal gated unit."""

from __future__ import annotations

from carrossel.cells.one_gate import BiasedGate


class Mgu(BiasedGate, kind="mgu"):
    """A gated recurrent unit with one gate, which both resets and updates.

        f_t = σ(W_f · [h_{t-1}, x_t] + b_f)
        h̃_t = tanh(W_h · [f_t * h_{t-1}, x_t] + b_h)
        h_t = (1 − f_t) * h_{t-1} + f_t * h̃_t

    The paper calls f the forget gate: open, it forgets, the other way round than in an LSTM. It is kind `gru` with the
    weights of z and r tied.

    References:
        Zhou, Wu, Zhang & Zhou (2016), Minimal gated unit for recurrent neural networks, arXiv:1603.09420.
    """
