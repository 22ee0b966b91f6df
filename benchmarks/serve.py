"""The service under load, overload, mutated uploads and the loss of a worker, on this machine's loopback only.

Usage: python -m benchmarks.serve [--seconds 60] [--json results/serve.json]

The service has one processor and the clients another, where there are two; the in-process rate is measured on the
service's. Every answer is compared with what the predictor says of the same face alone.
"""

import argparse
import asyncio
import io
import json
import os
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.report import command, write_report
from mien.data.synthetic import draw_faces
from mien.inference import Predictor

FACES = 256
CLOSE = 1e-5  # how far a probability may differ between batches of different sizes
MOST = 200_000  # requests of the load


def pictures():
    """Drawn faces as PNG files."""
    found = []
    for image in draw_faces(FACES, seed=5).images:
        buffer = io.BytesIO()
        Image.fromarray(image).save(buffer, "PNG")
        found.append(buffer.getvalue())
    return found


_ALL = sorted(os.sched_getaffinity(0))  # before this process is bound to its own


def processors():
    """Which processors the service gets, and which the clients."""
    return set(_ALL[:1]), set(_ALL[1:]) or set(_ALL)


def in_process(model, seconds):
    """Faces a second of Predictor.crops in lists, in a process on the service's processor."""
    script = f"from benchmarks import serve; serve.measure_in_process({model!r}, {seconds})"
    return json.loads(started([sys.executable, "-c", script], stdout=subprocess.PIPE).communicate()[0])


def measure_in_process(model, seconds):
    predictor, files = Predictor(model, threads=1), pictures()
    predictor.crops(files[:64])
    count, start = 0, time.perf_counter()
    while (spent := time.perf_counter() - start) < seconds:
        count += len(predictor.crops(files))
    print(json.dumps({"faces_a_second": round(count / spent, 1), "load_average": os.getloadavg()[0]}))


def started(command, processors_=None, **options):
    mask = processors_ or processors()[0]
    return subprocess.Popen(command, preexec_fn=lambda: os.sched_setaffinity(0, mask), **options)


@contextmanager
def service(model, *arguments, everywhere=False):
    """A running service: its port and its process."""
    command = [sys.executable, "-m", "mien", "serve", "--no-page", "--port", "0", "--model", model, *arguments]
    mask = set.union(*processors()) if everywhere else None
    with tempfile.NamedTemporaryFile() as errors, started(command, mask, stderr=errors) as process:
        try:
            yield wait_for(errors.name, process), process
        finally:
            process.terminate()
            process.wait(60)


def wait_for(errors, process):
    while process.poll() is None:
        found = re.search(r"http://127\.0\.0\.1:(\d+)", Path(errors).read_text())
        if found and asyncio.run(asked_once(int(found[1]), b"GET /readyz HTTP/1.1\r\nHost: a\r\n\r\n"))[0] == 200:
            return int(found[1])
        time.sleep(0.1)
    raise SystemExit(Path(errors).read_text())


async def asked_once(port, request):
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        return await ask(reader, writer, request)
    finally:
        writer.close()


async def ask(reader, writer, request):
    """Status, headers and body of the answer to a request."""
    writer.write(request)
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(re.search(rb"content-length: (\d+)", head)[1])
    return int(head[9:12]), head, await reader.readexactly(length)


def posted(data, query="?detector=none"):
    head = (
        f"POST /v1/predict{query} HTTP/1.1\r\nHost: a\r\nContent-Type: image/png\r\nContent-Length: {len(data)}\r\n\r\n"
    )
    return head.encode() + data


class Load:
    """Clients that post faces one after the other, each on a connection of its own."""

    def __init__(self, port, files, expected):
        self.port, self.files, self.expected = port, [posted(data) for data in files], expected
        self.latencies, self.outcomes = [], Counter()

    def right(self, place, body):
        (face,) = json.loads(body)["images"][0]["faces"]
        return np.abs(np.array(list(face["probabilities"].values())) - self.expected[place]).max() < CLOSE

    async def client(self, number, until, most):
        rng, connection = np.random.default_rng(number), None
        for _ in range(most):
            if time.perf_counter() > until:
                break
            place = int(rng.integers(len(self.files)))
            try:
                connection = connection or await asyncio.open_connection("127.0.0.1", self.port)
                begun = time.perf_counter()
                status, head, body = await ask(*connection, self.files[place])
            except (OSError, asyncio.IncompleteReadError):
                self.outcomes["lost"] += 1
                connection = None
                continue
            self.latencies.append(time.perf_counter() - begun)
            if status == 429:
                self.outcomes["429 with Retry-After" if b"retry-after" in head else "429 without"] += 1
            elif status != 200:
                self.outcomes[str(status)] += 1
            else:
                self.outcomes["right" if self.right(place, body) else "wrong"] += 1
            if b"connection: close" in head:
                connection = None
        if connection:
            connection[1].close()

    async def run(self, clients, seconds, most=MOST):
        until = time.perf_counter() + seconds
        await asyncio.gather(*(self.client(number, until, most // clients) for number in range(clients)))

    def report(self, seconds):
        cuts = statistics.quantiles(self.latencies, n=100)
        names = {"p50": cuts[49], "p95": cuts[94], "p99": cuts[98]}
        rate = round(self.outcomes["right"] / seconds, 1)
        return {"requests": sum(self.outcomes.values()), "outcomes": dict(self.outcomes), "faces_a_second": rate} | {
            f"{name}_ms": round(1000 * value, 1) for name, value in names.items()
        }


def memory_mb(process):
    return int(re.search(r"VmRSS:\s+(\d+)", Path(f"/proc/{process}/status").read_text())[1]) / 1024


def say(what):
    print(f"{time.strftime('%H:%M:%S')} {what}", file=sys.stderr, flush=True)


def timed(load, clients, seconds, most=MOST):
    start = time.perf_counter()
    asyncio.run(load.run(clients, seconds, most))
    return load.report(time.perf_counter() - start)


def under_load(model, files, expected, seconds):
    """32 clients; the service's memory, in MB, after a tenth of the time and at the end."""
    say("under load")
    with service(model, "--threads", "1", "--queue", "256") as (port, process):
        first = timed(Load(port, files, expected), 32, seconds / 10)
        before = memory_mb(process.pid)
        found = timed(Load(port, files, expected), 32, seconds)
        after = memory_mb(process.pid)
        batches = batch_size(port)
    grown = {"memory_mb": round(after, 1), "memory_grown_mb": round(after - before, 1)}
    return {"clients": 32, "seconds": seconds, "warm_up": first["requests"], **found, **grown, "mean_batch": batches}


def batch_size(port):
    text = asyncio.run(asked_once(port, b"GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"))[2].decode()
    total, count = (float(re.search(rf"mien_batch_faces_{name}\S* (\S+)", text)[1]) for name in ("sum", "count"))
    return round(total / count, 2)


def overloaded(model, files, expected):
    """256 clients and a queue of 64; then 32 clients, of whom nobody may be refused."""
    say("overloaded")
    with service(model, "--threads", "1", "--queue", "64") as (port, _):
        found = timed(Load(port, files, expected), 256, 20, 256 * 20)
        recovered = timed(Load(port, files, expected), 32, 20, 32 * 10)
    return {"clients": 256, "queue": 64, **found, "afterwards": recovered["outcomes"]}


def mutated(data, rng):
    changed = bytearray(data)
    for place in rng.integers(0, len(changed), int(rng.integers(1, 9))):
        changed[place] = rng.integers(256)
    return bytes(changed[: int(rng.integers(1, len(changed)))] if rng.random() < 0.3 else changed)


def seeds():
    ramp = np.add.outer(np.arange(48), np.arange(48)).astype(np.uint8)
    for form in ("PNG", "JPEG", "GIF", "BMP", "WEBP", "TIFF", "PPM"):
        buffer = io.BytesIO()
        Image.fromarray(ramp).save(buffer, form)
        yield buffer.getvalue()


def hostile(model, files, expected, count):
    """Mutated uploads, of which each must be read or refused, and afterwards faces, which must be right."""
    say("hostile")
    rng, originals, statuses = np.random.default_rng(0), list(seeds()), Counter()

    async def post(port):
        connection = await asyncio.open_connection("127.0.0.1", port)
        for number in range(count):
            status, head, _ = await ask(*connection, posted(mutated(originals[number % len(originals)], rng)))
            statuses[status] += 1
            if b"connection: close" in head:
                connection = await asyncio.open_connection("127.0.0.1", port)
        connection[1].close()

    with service(model, "--threads", "1") as (port, _):
        asyncio.run(post(port))
        after = timed(Load(port, files, expected), 4, 20, 100)
    return {"uploads": count, "statuses": {str(k): v for k, v in statuses.items()}, "afterwards": after["outcomes"]}


def worker_killed(model, files, expected):
    """Two workers and 64 clients; the worker with fewer connections is killed in the middle."""
    say("worker killed")
    with service(model, "--threads", "1", "--workers", "2", everywhere=True) as (port, process):
        time.sleep(5)
        listed = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        workers = [int(one) for one in listed if b"spawn_main" in Path(f"/proc/{one}/cmdline").read_bytes()]
        load, held = Load(port, files, expected), {}

        def kill():
            held.update({worker: connections(worker, port) for worker in workers})
            os.kill(min(held, key=held.__getitem__), signal.SIGKILL)

        async def run():
            asyncio.get_running_loop().call_later(4, kill)
            await load.run(64, 12)

        asyncio.run(run())
        found = load.report(12)
    return {"clients": 64, "workers": len(workers), "connections_of_the_killed": min(held.values()), **found}


def connections(process, port):
    """How many of a port's connections a process holds; each has one request at a time here."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    sockets = {f"socket:[{line[9]}]" for line in lines if line[3] == "01" and line[1].endswith(f":{port:04X}")}
    return sum(str(one.readlink()) in sockets for one in Path(f"/proc/{process}/fd").iterdir())


def shapes(model, files, expected, seconds):
    """Processes and threads compared, all on every processor, clients too."""
    say("shapes")
    found = {}
    for workers, threads in ((1, 1), (1, 2), (2, 1)):
        how = ("--workers", str(workers), "--threads", str(threads))
        with service(model, *how, everywhere=True) as (port, _):
            time.sleep(5 if workers > 1 else 0)
            found[f"workers {workers}, threads {threads}"] = timed(Load(port, files, expected), 32, seconds)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="best")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--mutations", type=int, default=5000)
    parser.add_argument("--json", type=Path, dest="out", help="write the figures here")
    options = parser.parse_args()
    model, before = options.model, os.getloadavg()[0]
    files, predictor = pictures(), Predictor(model, threads=1)
    expected = [np.array(list(predictor.crops([data])[0].faces[0].probabilities.values())) for data in files]
    report = {"command": command(__spec__.name), "model": model, "load_average_before": round(before, 2)}
    alone = in_process(model, options.seconds / 4)
    os.sched_setaffinity(0, processors()[1])
    load = under_load(model, files, expected, options.seconds)
    again = in_process(model, options.seconds / 4)
    batched = (alone["faces_a_second"] + again["faces_a_second"]) / 2
    report |= {
        "load": load,
        "in_process": [alone, again],
        "share_of_in_process": round(load["faces_a_second"] / batched, 3),
    }
    write_report(report, options.out, quiet=True)  # after each part: a run that is cut keeps what it has measured
    parts = {
        "overload": partial(overloaded, model, files, expected),
        "hostile": partial(hostile, model, files, expected, options.mutations),
        "worker_killed": partial(worker_killed, model, files, expected),
        "shapes": partial(shapes, model, files, expected, options.seconds / 6),
    }
    for name, measure in parts.items():
        report[name] = measure()
        report["load_average_after"] = round(os.getloadavg()[0], 2)
        write_report(report, options.out, quiet=True)
    write_report(report, options.out)


if __name__ == "__main__":
    main()
