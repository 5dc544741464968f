"""Fast cells: one engine for all of them, which knows none.

A cell's file gives its gate maths (`form.GateMaths`); the engine, compiled by numba on first use and kept on disk, gives
products, time, threads and memory; `cuda/` is another engine, compiled by Triton. `form` and `functions` cost nothing to
import, `phases`, `operation`, `bptt` and `notices` no more than torch; the rest imports numba.
The design is in docs/decisions/0002-fast-cells.md.
"""
