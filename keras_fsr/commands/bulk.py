"""`keras-fsr bulk`: very many images, on this machine or a cluster."""

import sys
from pathlib import Path

from keras_fsr.commands.shared import (
    DEFAULT_MODEL,
    add_command,
    add_strength,
    add_tag,
    positive,
    progress_bar,
    threads,
)


def add(commands) -> None:
    parser = add_command(
        commands,
        "bulk",
        "enlarge very many images with Dask, on this machine or a cluster",
        "keras-fsr bulk faces/ large/",
        "keras-fsr bulk faces.txt large/ --workers 4 --threads 2",
        "keras-fsr bulk shards/ large/ --scheduler tcp://node1:8786",
        "keras-fsr bulk faces/ shards/ --shard 1000",
    )
    parser.add_argument("source", type=Path, metavar="IN", help="folder, .txt list, .parquet, .tar or folder of them")
    parser.add_argument("out", type=Path, metavar="OUT", help="folder for the results and the manifest")
    parser.add_argument("--model", default=DEFAULT_MODEL, help=f"shipped model or file ({DEFAULT_MODEL})")
    parser.add_argument("--scheduler", metavar="ADDRESS", help="of a Dask cluster (workers on this machine)")
    parser.add_argument("--workers", type=positive, help="processes on this machine (cores / --threads)")
    parser.add_argument("--threads", type=threads, default=1, help="CPU threads of each worker's network (1)")
    parser.add_argument("--chunk", type=positive, default=32, help="images that a worker takes at once (32)")
    parser.add_argument("--shard", type=positive, metavar="N", help="write WebDataset shards of N images")
    parser.add_argument("--column", help="of a Parquet file: paths or images (image, path or file)")
    parser.add_argument("--jsonl", action="store_true", help="manifest.jsonl instead of manifest.csv")
    parser.add_argument("--again", action="store_true", help="do what former runs have done, too")
    parser.add_argument("--tile", type=int, default=256, help="pixels a side at once; 0 = whole (256)")
    parser.add_argument("--overlap", type=int, default=32, help="pixels that tiles share (32)")
    parser.add_argument("--ensemble", action="store_true", help="average 8 flips and turns: better, slower")
    parser.add_argument("--max-pixels", type=positive, default=64_000_000, help="refuse larger inputs (64000000)")
    add_strength(parser, metavar="0..1")
    add_tag(parser)
    parser.set_defaults(call=run)


def run(arguments) -> int:
    from keras_fsr.inference.bulk import connected, upscale_bulk
    from keras_fsr.inference.bulk_sources import find_source

    source = find_source(arguments.source, arguments.out, arguments.chunk, arguments.shard or 0, arguments.column)
    manifest = "manifest.jsonl" if arguments.jsonl else "manifest.csv"
    with connected(arguments.scheduler, arguments.workers, arguments.threads) as client:
        print(f"dashboard: {client.dashboard_link}", flush=True)
        with progress_bar(arguments.source.name) as progress:
            report = upscale_bulk(
                client, source, arguments.out, settings_of(arguments), manifest, arguments.again, progress
            )
    print(report.summary())
    if report.failed:
        print(f"keras-fsr: the reasons are in {arguments.out / manifest}", file=sys.stderr)
    return 1 if report.failed else 0


def settings_of(arguments):
    from keras_fsr.inference.bulk_worker import Settings
    from keras_fsr.pretrained import is_file

    # Workers run elsewhere than here.
    path = {
        name: str(Path(name).resolve())
        for name in (arguments.model, arguments.fidelity_model)
        if name and is_file(name)
    }
    return Settings(
        path.get(arguments.model, arguments.model),
        tile=arguments.tile or None,
        overlap=arguments.overlap,
        ensemble=arguments.ensemble,
        threads=arguments.threads,
        max_pixels=arguments.max_pixels,
        strength=arguments.strength,
        fidelity=path.get(arguments.fidelity_model, arguments.fidelity_model),
        tag=arguments.tag,
    )
