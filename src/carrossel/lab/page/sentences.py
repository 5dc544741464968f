"""The page's sentences, computed: each says what was measured and no more."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from carrossel.diagnostics.curves import halving
from carrossel.evaluation.verdicts import format_p, format_percent, format_skill

if TYPE_CHECKING:
    from collections.abc import Sequence

    import pandas as pd

    from carrossel.lab.page.comparing import Relation, Row
    from carrossel.lab.page.reading import Gate, Network

_SURE = 0.05
_WINS = "beats persistence"
_SUPERSCRIPTS = str.maketrans("0123456789-", "⁰¹²³⁴⁵⁶⁷⁸⁹⁻")
_PLAIN = (1e-3, 1e4)  # between them numbers are written without powers of ten


def tell_powers(table: pd.DataFrame) -> list[str]:
    """Hochreiter's experiment in words.

    Args:
        table: from `hochreiter.experiment.run_experiment`.
    """
    steps = int(table["lag"].max())
    linear, tanh = (table[table["network"] == name] for name in ("linear", "tanh"))
    deviation = float((linear["gradient"] / linear["theory"] - 1).abs().max())
    ends = linear[linear["lag"] == steps].sort_values("alpha")
    small, large = ends.iloc[0], ends.iloc[-1]
    sentences = [
        (
            f"In the linear network an error that travels back {steps} steps is multiplied by α{_superscript(steps)}: "
            f"{format_power(small['gradient'])} at α = {small['alpha']:g}, "
            f"{format_power(large['gradient'])} at α = {large['alpha']:g}. "
            f"What was measured differs from the power by at most {format_power(deviation)} of the power."
        )
    ]
    most = tanh[tanh["lag"] == steps].sort_values("alpha").iloc[-1]
    above = bool((tanh["gradient"] > tanh["theory"] * (1 + 1e-10)).any())
    sentences.append(
        f"With tanh the power is {'no bound, though it should be one' if above else 'a bound'}: at α = {most['alpha']:g} "
        f"the error is multiplied by {format_power(most['gradient'])}, not by {format_power(most['theory'])} as in the linear "
        f"network, since a unit near ±1 lets hardly any error pass."
    )
    return sentences


def tell_error(networks: Sequence[Network], lookback: int, dataset: str) -> list[str]:
    """How far back error reaches in trained cells, longest memory first."""
    longest, shortest = networks[0], networks[-1]
    sentences = [f"On {dataset} error reaches furthest back in {longest.name}: {_tell_fading(longest, lookback)}."]
    if shortest is not longest:
        sentences.append(f"It fades fastest in {shortest.name}: {_tell_fading(shortest, lookback)}.")
    whole = sum(network.fading.memory >= lookback for network in networks)
    if whole:
        sentences.append(
            f"In {whole} of {len(networks)} networks the first of the window's {lookback} bars still gets more than a "
            f"thousandth of the error of the last: their memory may be longer than the window."
        )
    grown = [network.name for network in networks if (network.fading.slope or 0) > 0]
    if grown:
        sentences.append(f"It grows on its way back in {_list(grown)}.")
    return sentences


def tell_gates(networks: Sequence[Network], lookback: int) -> list[str]:
    """What gates do: D8 and D6."""
    measured = [network for network in networks if network.gates is not None or network.kept is not None]
    if not measured:
        return [
            "None of these models has its gates measured: they were trained before that was done. Train them again."
        ]
    sentences = []
    if lacking := [network.name for network in networks if network.gates is None and network.kept is None]:
        sentences.append(f"Not measured yet, train again: {_list(lacking)}.")
    keeping = [(network, network.kept) for network in measured if network.kept is not None]
    forgetting = [(network, kept) for network, kept in keeping if kept[-1] < 1]
    if forgetting:
        most, kept = max(forgetting, key=lambda item: item[1][1])
        half = halving(kept)
        after = (
            "more than half of it over the whole window"
            if half is None
            else f"half of it after {format_bars(half)} bars"
        )
        sentences.append(
            f"Gates alone keep most in {most.name}: {_share(float(kept[1]))} of its memory from one bar to the next, {after}."
        )
    if whole := [network.name for network, kept in keeping if kept[-1] >= 1]:
        sentences.append(f"No gate ever takes anything from the memory of {_list(whole)}.")
    if keeping:
        detours = [network.name for network, kept in keeping if network.shares[-1] > 2 * kept[len(network.shares) - 1]]
        sentences.append(
            f"In {len(detours)} of {len(keeping)} networks whose gates keep something, more than twice as much error arrives at "
            f"the first of {lookback} bars as their gates let through on average: the rest goes round through h, or through "
            "units that keep more than most."
        )
    gates = [(network.name, name, gate) for network in measured for name, gate in (network.gates or {}).items()]
    if gates:
        sentences += _tell_saturation(gates)
    return sentences or ["None of these networks has gates."]


def tell_exams(passes: pd.DataFrame) -> list[str]:
    """Who passes most exams, and which no one passes.

    Args:
        passes: from `comparing.pass_exams`.
    """
    if passes.empty:
        return ["No exam was taken."]
    by_candidate = passes.groupby("candidate", sort=False)["passed"].agg(["sum", "count"])
    most = int(by_candidate["sum"].max())
    best = [str(name) for name in by_candidate.index[by_candidate["sum"] == most]]
    none = [str(name) for name in by_candidate.index[by_candidate["sum"] == 0]]
    taken = int(by_candidate["count"].max())
    sentences = [f"Of {taken} exams {_list(best)} {'passes' if len(best) == 1 else 'pass'} most: {most}."]
    if none and most:
        sentences.append(f"{_list(none)} {'passes' if len(none) == 1 else 'pass'} none.")
    unsolved = [
        f"{exam} of length {length}"
        for (exam, length), sat in passes.groupby(["exam", "length"], sort=False)
        if not sat["passed"].any()
    ]
    if unsolved:
        sentences.append(f"Nobody passes {_list(unsolved)}.")
    return sentences


def tell_skill(rows: Sequence[Row], relation: Relation | None, dataset: str) -> list[str]:
    """Whether memory helps to forecast.

    Args:
        rows: longest memory first.
        relation: of memory and skill, if there are enough networks.
        dataset: what they were trained on.
    """
    scored = [row for row in rows if row.test is not None]
    if not scored:
        return [f"No network of {dataset} has been evaluated: nothing can be said of what memory is good for."]
    longest, best = scored[0], max(scored, key=lambda row: row.test or -math.inf)
    winners = [row.name for row in scored if row.verdict == _WINS]
    if longest is best:
        sentences = [
            (
                f"{longest.name} remembers longest and has the highest skill on the test part too "
                f"({format_skill(longest.test or 0)})."
            )
        ]
    else:
        sentences = [
            (
                f"The longest memory doesn't bring the highest skill on {dataset}: {longest.name} ({_half_life(longest)}) has "
                f"skill {format_skill(longest.test or 0)} on the test part, {best.name} ({_half_life(best)}) has "
                f"{format_skill(best.test or 0)}."
            )
        ]
    if relation is not None:
        sure = relation.p < _SURE
        tendency = "better" if relation.rho > 0 else "worse"
        sentences.append(
            f"Over all {relation.networks} networks those that remember longer "
            f"{f'forecast {tendency}' if sure else 'forecast neither better nor worse than chance would have it'} "
            f"(Spearman's ρ = {_signed(relation.rho)}, {format_p(relation.p)})."
        )
    if winners:
        sentences.append(
            f"{len(winners)} of {len(scored)} networks {'beats' if len(winners) == 1 else 'beat'} 'tomorrow = today' here."
        )
    else:
        sentences.append("No network beats 'tomorrow = today' here, however long it remembers.")
    return sentences


def format_power(value: float) -> str:
    """`0.51`, `8.9 × 10⁻¹⁶`."""
    if value == 0 or _PLAIN[0] <= abs(value) < _PLAIN[1]:
        return f"{value:.3g}"
    exponent = math.floor(math.log10(abs(value)))
    return f"{value / 10**exponent:.1f} × 10{_superscript(exponent)}"


def format_bars(bars: float | None) -> str:
    """`6.3`, `48`; `∞` for what doesn't fade."""
    if bars is None:
        return "∞"
    return f"{bars:.2g}" if bars < 10 else f"{bars:,.0f}"  # noqa: PLR2004 - two digits


def _tell_fading(network: Network, lookback: int) -> str:
    fade = network.fading
    if fade.slope is not None and fade.half_life is None:
        return (
            f"it doesn't fade but grows like α = {math.exp(fade.slope):.2f} per bar; "
            f"{format_power(network.shares[-1])} times as much arrives at the first of {lookback} bars"
        )
    memory = f"{fade.memory} of {lookback} bars back it is still more than a thousandth"
    if fade.memory >= lookback:
        memory = f"{_share(float(network.shares[-1]))} of it arrives at the first of {lookback} bars"
    if fade.slope is None or fade.half_life is None:
        return memory
    return (
        f"it fades like α = {math.exp(fade.slope):.2f} per bar, by half every {_count_bars(fade.half_life)}; {memory}"
    )


def _tell_saturation(gates: Sequence[tuple[str, str, Gate]]) -> list[str]:
    name, gate, found = max(gates, key=lambda item: item[2].opened)
    opened = f"Most often open is the {gate} gate of {name}: {_share(found.opened)} of the time above 0.9"
    name, gate, found = max(gates, key=lambda item: item[2].shut)
    shut = f"most often shut the {gate} gate of {name}: {_share(found.shut)} below 0.1"
    between = sum(found.opened + found.shut < 0.1 for *_, found in gates)  # noqa: PLR2004 - a tenth of the time
    return [
        f"{opened}; {shut}.",
        (
            f"{between} of {len(gates)} gates are in between for more than 90 % of the time: they mix old and new rather than "
            "decide."
        ),
    ]


def _half_life(row: Row) -> str:
    return "no fading" if row.half_life is None else f"half-life {format_bars(row.half_life)} bars"


def _count_bars(bars: float) -> str:
    text = format_bars(bars)
    return "bar" if text == "1" else f"{text} bars"


def _share(share: float) -> str:
    return format_percent(share)


def _signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


def _superscript(number: int) -> str:
    return str(number).translate(_SUPERSCRIPTS)


def _list(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"
