"""Requests for a forecast over HTTP: milliseconds, requests per second, errors; beside `mlflow models serve` of the same model.

    python benchmarks/serving.py [--quick] [--requests N]

A model of 2 × 50 LSTM cells on 48 bars of the embedded bitcoin series is registered in a store of its own, made champion, and
served by `carrossel serve` and by `mlflow models serve`, each in a process of its own. The client is a third one: one or eight
sockets that stay open, the newest 49 raw bars in each request. Both servers get the same bars; ours as columns, MLflow's as its
`dataframe_split`. Goals: half of the requests of one client within 1 ms; 2,000 requests per second with 8 clients on 2 cores; no
error in 100,000 requests.
--quick takes fewer requests, under 50 s.
"""

from __future__ import annotations

import argparse
import asyncio
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path

from reporting import Report

ROOT = Path(__file__).resolve().parents[1]
REQUESTS, QUICK = 100_000, 6_000
MILLISECONDS, RATE = 1.0, 2_000.0
UNITS, LAYERS = 50, 2
WORKERS = 2


def make_project(folder: Path) -> dict[str, str]:
    """A project whose dataset `bitcoin` has a champion; the environment of its commands."""
    import pandas as pd
    import torch
    import yaml

    from carrossel.bars.config import Dataset, Repair
    from carrossel.bars.preparation import prepare
    from carrossel.bars.sources.base import open_source
    from carrossel.files import write_json
    from carrossel.forecaster.stored import load
    from carrossel.recorder import MemoryRecorder
    from carrossel.training.config import read_recipe
    from carrossel.training.session import train

    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["datasets"] = {"bitcoin": {"source": {"kind": "sample", "name": "bitcoin"}, "interval": "1h"}}
    params["cells"]["lstm"] = {"hidden_size": UNITS, "layers": LAYERS}
    params["training"]["epochs"] = 1  # what it forecasts doesn't matter here
    params["windows"]["stride"] = 20
    params["tracking"] = {"uri": None}
    params["online"]["serve"] = {"workers": WORKERS}
    (folder / "params.yaml").write_text(yaml.safe_dump(params), encoding="utf-8")
    dataset = Dataset.model_validate(params["datasets"]["bitcoin"])
    raw = open_source(dataset.source, ROOT, dataset.interval).fetch()
    bars = prepare(raw, dataset, Repair(), name="bitcoin", now=pd.Timestamp("2030-01-01", tz="UTC")).bars
    torch.set_num_threads(1)
    model = folder / "models" / "bitcoin" / "lstm"
    train(
        bars,
        read_recipe("bitcoin", "lstm", params),
        data_sha256="0" * 64,
        folder=model,
        checkpoints=folder / "checkpoints",
        open_run=lambda *_, **__: nullcontext(MemoryRecorder()),
        finish=lambda *_: None,
    )
    stored = load(model)
    newest = bars.tail(int(stored.manifest["bars"]["needed"]))
    stamps = [stamp.strftime("%Y-%m-%dT%H:%M:%SZ") for stamp in newest["timestamp"]]
    columns = {
        "timestamp": stamps,
        **{name: newest[name].tolist() for name in ("open", "high", "low", "close", "volume")},
    }
    write_json(folder / "columns.json", columns)
    write_json(folder / "expected.json", float(stored.predict(newest)["forecast"].iloc[-1]))
    environment = {
        **os.environ,
        "CARROSSEL_ROOT": str(folder),
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "OMP_NUM_THREADS": "1",
        "PATH": os.pathsep.join(
            [str(Path(sys.executable).parent), os.environ["PATH"]]
        ),  # MLflow looks for uvicorn there
    }
    environment.pop("MLFLOW_TRACKING_URI", None)
    return environment


def register(folder: Path) -> None:
    """Log the model, register it and make it champion; print where MLflow keeps it."""
    from carrossel.tracking.config import read_tracking, tracking_root
    from carrossel.tracking.registry import CHAMPION, model_name, move_aliases
    from carrossel.tracking.registry import register as register_version
    from carrossel.tracking.store import open_tracking

    store = open_tracking(read_tracking(), tracking_root())
    version = register_version(store, "bitcoin", folder / "models" / "bitcoin" / "lstm", "a benchmark")
    move_aliases(store, model_name("bitcoin"), {CHAMPION: version.version})
    print(store.client.get_model_version(model_name("bitcoin"), version.version).source)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def load_server(port: int, path: str, body: bytes, clients: int, requests: int) -> dict[str, float]:
    """Requests one after another on so many open connections."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    whole = head.encode() + body
    latencies: list[float] = []
    errors = 0
    answer = b""

    async def client(count: int) -> None:
        nonlocal errors, answer
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(count):
            started = time.perf_counter()
            writer.write(whole)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            answer = await reader.readexactly(int(head.split(b"content-length:")[1].split(b"\r\n")[0]))
            latencies.append(time.perf_counter() - started)
            errors += not head.startswith(b"http/1.1 200")
        writer.close()

    await client(50)
    latencies.clear()
    started = time.perf_counter()
    await asyncio.gather(*(client(requests // clients) for _ in range(clients)))
    seconds = time.perf_counter() - started
    latencies.sort()
    return {
        "p50": 1e3 * latencies[len(latencies) // 2],
        "p99": 1e3 * latencies[int(0.99 * len(latencies))],
        "rate": len(latencies) / seconds,
        "requests": len(latencies) + 50,
        "errors": errors,
        "answer": json.loads(answer),
    }


def measure(port: int, path: str, body: Path, clients: int, requests: int) -> dict:
    """`load_server` in a process of its own."""
    order = json.dumps([port, path, str(body), clients, requests])
    done = subprocess.run([sys.executable, __file__, "--load", order], capture_output=True, text=True, check=False)
    if done.returncode:
        sys.exit(done.stderr[-2000:])
    return dict(json.loads(done.stdout))


def wait_until_up(port: int, path: str, server: subprocess.Popen[bytes], log: Path) -> float:
    """Seconds until a server answers: its socket may listen before."""
    started = time.perf_counter()
    while time.perf_counter() - started < 90:
        if server.poll() is not None:
            sys.exit(log.read_text(encoding="utf-8")[-2000:])
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
        try:
            connection.request("GET", path)
            connection.getresponse().read()
        except OSError:
            time.sleep(0.05)
        else:
            return time.perf_counter() - started
        finally:
            connection.close()
    sys.exit(f"no answer on port {port}")


def memory(group: int) -> float:
    """Megabytes of a group of processes."""
    pages = 0
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = status.read_text(encoding="utf-8").rpartition(")")[2].split()
        except OSError:  # it has ended meanwhile
            continue
        pages += int(fields[21]) * (int(fields[2]) == group)
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def run_server(
    report: Report, name: str, command: list[str], body: Path, path: str, port: int, plan: dict, environment: dict
) -> dict:
    """Start a server, ask it, end it: what one and eight clients saw."""
    log = body.with_suffix(".log")
    with log.open("wb") as stream:
        server = subprocess.Popen(command, env=environment, stdout=stream, stderr=stream, start_new_session=True)
    try:
        up = wait_until_up(port, "/health", server, log)
        found = {clients: measure(port, path, body, clients, count) for clients, count in plan.items()}
        held = memory(server.pid)
    finally:
        os.killpg(server.pid, signal.SIGTERM)  # MLflow's command has a child that serves
        try:
            server.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
    for clients, seen in found.items():
        report(
            f"{name:22} {clients:>7} {seen['p50']:>9.2f} {seen['p99']:>9.2f} {seen['rate']:>11,.0f} {seen['requests']:>10,} "
            f"{seen['errors']:>7} {up:>7.1f} {held:>6.0f}"
        )
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help=f"{QUICK:,} requests in place of {REQUESTS:,}, under 50 s")
    parser.add_argument("--requests", type=int, help="so many in all")
    parser.add_argument("--load", help=argparse.SUPPRESS)
    parser.add_argument("--register", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.load:
        port, path, body, clients, requests = json.loads(options.load)
        print(json.dumps(asyncio.run(load_server(port, path, Path(body).read_bytes(), clients, requests))))
        return 0
    if options.register:
        register(options.register)
        return 0
    requests = options.requests or (QUICK if options.quick else REQUESTS)
    report = Report("serving", "onnxruntime", "fastapi", "uvicorn", "mlflow")
    with tempfile.TemporaryDirectory(prefix="carrossel-serving-") as name:
        folder = Path(name)
        environment = make_project(folder)
        done = subprocess.run(
            [sys.executable, __file__, "--register", name], env=environment, capture_output=True, text=True, check=False
        )
        if done.returncode:
            sys.exit(done.stderr[-3000:])
        location = done.stdout.splitlines()[-1]
        columns = json.loads((folder / "columns.json").read_text(encoding="utf-8"))
        expected = json.loads((folder / "expected.json").read_text(encoding="utf-8"))
        rows = [list(row) for row in zip(*columns.values(), strict=True)]
        ours, theirs = folder / "ours.json", folder / "theirs.json"
        ours.write_text(json.dumps({"bars": columns}), encoding="utf-8")
        theirs.write_text(json.dumps({"dataframe_split": {"columns": list(columns), "data": rows}}), encoding="utf-8")
        report(f"{LAYERS} × {UNITS} LSTM cells, {len(rows)} bars a request, {ours.stat().st_size:,} bytes")
        report()
        report("server, processes      clients  p50, ms   p99, ms  requests/s   requests  errors  up, s     MB")
        port = free_port()
        command = [sys.executable, "-c", "from carrossel.cli import app; app()", "serve", "--port", str(port)]
        mine = run_server(
            report,
            f"carrossel serve, {WORKERS}",
            command,
            ours,
            "/forecast",
            port,
            {1: requests // 5, 8: requests * 4 // 5},
            environment,
        )
        port = free_port()
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "models",
            "serve",
            "-m",
            location,
            "--env-manager",
            "local",
            "-p",
            str(port),
        ]
        few = min(requests, 600 if options.quick else 10_000)
        other = run_server(
            report,
            "mlflow models serve, 1",
            command,
            theirs,
            "/invocations",
            port,
            {1: few // 5, 8: few * 4 // 5},
            environment,
        )
    same = abs(mine[8]["answer"]["forecasts"][-1]["forecast"] / expected - 1) < 1e-6
    same = same and abs(other[8]["answer"]["predictions"][-1]["forecast"] / expected - 1) < 1e-6
    serves = mine[8]["answer"]["serves"] == "champion"
    errors, asked = (sum(int(seen[key]) for seen in mine.values()) for key in ("errors", "requests"))
    report()
    report(f"both servers gave the champion's own forecast: {'yes' if same and serves else 'NO'}")
    report(f"serving: {errors} errors in {asked:,} requests (0)")
    report(f"serving: p50 {mine[1]['p50']:.2f} ms with one client (at most {MILLISECONDS:g} ms)")
    report(f"serving: {mine[8]['rate']:,.0f} requests/s with 8 clients (at least {RATE:,.0f})")
    if not options.quick and options.requests is None:
        report.write()
    return int(not (same and serves) or errors > 0 or mine[1]["p50"] > MILLISECONDS or mine[8]["rate"] < RATE)


if __name__ == "__main__":
    sys.exit(main())
