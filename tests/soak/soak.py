"""Long runs: a loop over many faces in one process, and a web server with eight users at once.

    python tests/soak/soak.py [--faces 20000] [--requests 800] [--out FILE]

Memory is resident memory (Linux); its growth is told between a tenth of the run and its end, beside the slope of a
line through the samples. Handles are open files. Latencies are medians of the first and the last tenth.
"""

import argparse
import json
import os
import re
import socket
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
from PIL import Image

SAMPLES = 50
USERS = 8
DEADLINE = 120  # seconds for an answer


class Health:
    """Samples of a process while it works."""

    def __init__(self, pid: int, total: int):
        self.pid, self.total, self.every = pid, total, max(total // SAMPLES, 1)
        self.done: list[int] = []
        self.memory: list[float] = []
        self.handles: list[int] = []
        self.seconds = np.full(total, np.nan)  # of full size, for a list that grows looks like a leak
        self.count = 0

    def add(self, seconds: float) -> None:
        """After one more piece of work, which took so long."""
        self.seconds[self.count] = seconds
        self.count += 1
        if self.count % self.every == 0:
            self.done.append(self.count)
            self.memory.append(
                int(Path(f"/proc/{self.pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
            )
            self.handles.append(len(os.listdir(f"/proc/{self.pid}/fd")))

    def figures(self) -> dict[str, float]:
        tenth = max(self.count // 10, 1)
        start = next(i for i, done in enumerate(self.done) if done >= tenth)
        slope = np.polyfit(self.done[start:], self.memory[start:], 1)[0]
        first, last = self.seconds[:tenth], self.seconds[-tenth:]
        return {
            "pieces": self.count,
            "MB after a tenth": round(self.memory[start] / 1e6, 1),
            "MB after half": round(self.memory[len(self.memory) // 2] / 1e6, 1),
            "MB at the end": round(self.memory[-1] / 1e6, 1),
            "growth": round(self.memory[-1] / self.memory[start] - 1, 5),
            "slope, bytes a piece": round(float(slope), 1),
            "handles after a tenth": self.handles[start],
            "handles at the end": self.handles[-1],
            "ms, first tenth": round(1000 * float(np.median(first)), 2),
            "ms, last tenth": round(1000 * float(np.median(last)), 2),
            "ms, longest": round(1000 * float(self.seconds.max()), 1),
        }


def loop(count: int) -> dict[str, float]:
    """File to file, in three sizes and formats, every hundredth of them damaged."""
    from keras_fsr import Predictor
    from keras_fsr.errors import FSRError

    predictor, health = Predictor(threads=1), Health(os.getpid(), count)
    with tempfile.TemporaryDirectory() as folder:
        files = list(make_files(Path(folder)))
        bad = Path(folder, "bad.png")
        bad.write_bytes(files[0].read_bytes()[:300])
        for number in range(count):
            source = bad if number % 100 == 99 else files[number % len(files)]
            began = time.perf_counter()
            try:
                predictor.predict(source, Path(folder, f"out{source.suffix}"))
            except FSRError:
                assert source == bad
            health.add(time.perf_counter() - began)
    return health.figures()


def make_files(folder: Path):
    draw = np.random.default_rng(0)
    for side, suffix in ((64, ".png"), (48, ".jpg"), (72, ".webp")):
        coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
        path = folder / f"{side}{suffix}"
        coarse.resize((side, side), Image.Resampling.BICUBIC).save(path)
        yield path


def web(count: int) -> dict[str, float]:
    """Eight users of one server; every twentieth request is of one who vanishes."""
    with tempfile.TemporaryDirectory() as folder:
        photos = list(make_files(Path(folder)))
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        command = [sys.executable, "-m", "keras_fsr.cli", "web", "--port", str(port), "--queue", str(2 * USERS)]
        server = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        try:
            address = next(found[0] for line in server.stdout if (found := re.findall(r"http://[\d.:]+", line)))
            threading.Thread(target=server.stdout.read, daemon=True).start()
            number = enlarge_number(address)
            health, lock = Health(server.pid, count), threading.Lock()

            def ask(index: int) -> None:
                seconds = request(address, number, photos[index % 3], f"s{index}", vanish=index % 20 == 19)
                with lock:
                    health.add(seconds)

            with ThreadPoolExecutor(USERS) as users:
                list(users.map(ask, range(count)))
            return health.figures()
        finally:
            server.terminate()
            server.wait(30)


def enlarge_number(address: str) -> int:
    """Gradio's number of what the button does: four inputs, three outputs."""
    known = httpx.get(f"{address}/config", timeout=60).json()["dependencies"]
    (found,) = [it["id"] for it in known if (len(it["inputs"]), len(it["outputs"])) == (4, 3)]
    return found


def request(address: str, number: int, photo: Path, session: str, vanish: bool) -> float:
    """Seconds from the upload to the answer, as the page asks; or leaves while it is under way."""
    began = time.perf_counter()
    api = f"{address}/gradio_api"
    with httpx.Client(timeout=DEADLINE) as client:
        (path,) = client.post(f"{api}/upload", files={"files": (photo.name, photo.read_bytes())}).json()
        data = [{"path": path, "meta": {"_type": "gradio.FileData"}}, "face_x4_edge", 1, False]
        answer = client.post(f"{api}/queue/join", json={"data": data, "fn_index": number, "session_hash": session})
        assert answer.status_code == 200, answer.text
        with client.stream("GET", f"{api}/queue/data", params={"session_hash": session}) as events:
            for line in events.iter_lines():
                if vanish:
                    break
                if '"process_completed"' in line:
                    said = json.loads(line.removeprefix("data:"))
                    assert said["success"], line
                    assert "became" in json.dumps(said["output"]), line
                    break
            else:
                raise AssertionError("no answer")
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--faces", type=int, default=20_000)
    parser.add_argument("--requests", type=int, default=800)
    parser.add_argument("--out", type=Path, help="JSON file")
    arguments = parser.parse_args()
    figures = {"loop": loop(arguments.faces)}
    print(json.dumps(figures, indent=1), flush=True)
    figures["web"] = web(arguments.requests)
    print(json.dumps(figures["web"], indent=1))
    if arguments.out:
        arguments.out.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    main()
