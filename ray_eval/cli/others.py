"""The commands of few words: `episode`, `serve`, `install`, `bench` and `doctor`."""

from __future__ import annotations

import argparse
from pathlib import Path

from ray_eval.cli.words import EXIT_COMPLETE, Commands, path_option, typed
from ray_eval.config import AUTO_ADDRESS, is_file, load_policy
from ray_eval.errors import ConfigError, require_eval_extra
from ray_eval.install.command import EPILOG, add_words, install
from ray_eval.report.terminal import output_console

SERVE_ADDRESS = "127.0.0.1:8000"
"""Where `ray-eval serve` listens unless told."""


def add_episode(commands: Commands) -> None:
    """The parser of `episode`."""
    episode = commands.add_parser("episode", help="run one episode of a run again, here, without Ray")
    episode.add_argument("run", type=path_option, metavar="RUN", help="the run's folder")
    episode.add_argument("episode_id", nargs="?", metavar="EPISODE_ID", help="for instance libero_object/3/17")
    episode.add_argument("--failures", action="store_true", help="list the episodes that did not succeed; run none")
    episode.add_argument("--video", type=path_option, metavar="FILE.mp4", help="write what the cameras see, for people")
    episode.add_argument("--trace", type=path_option, metavar="FILE", help="write a row per control step, as Parquet")
    episode.add_argument("--pdb", action="store_true", help="stop in the debugger where it breaks")
    episode.set_defaults(command=_episode, parser=episode)


def _episode(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.driver.episode import run_again, unsuccessful
    from ray_eval.driver.sweep import MANIFEST_NAME, point_folders

    is_sweep = is_file(parsed.run / MANIFEST_NAME)
    folders = point_folders(parsed.run) if is_sweep else [parsed.run]
    if parsed.failures:
        for folder in folders:
            for line in unsuccessful(folder):
                print(f"ray-eval episode {typed(folder)} {line}")
        return EXIT_COMPLETE
    if is_sweep:
        raise ConfigError(
            f"{parsed.run}: expected a run's folder, got a sweep's; name one of its points, for instance "
            f"{typed(folders[0])}"
        )
    if parsed.episode_id is None:
        raise ConfigError("episode: expected an episode's id, got none; --failures lists those that did not succeed")
    return run_again(parsed.run, parsed.episode_id, video=parsed.video, trace=parsed.trace, is_debugged=parsed.pdb)


def add_serve(commands: Commands) -> None:
    """The parser of `serve`."""
    serve = commands.add_parser("serve", help="serve a policy over gRPC, without Ray")
    serve.add_argument("policy", metavar="POLICY", help="a preset (ray-eval list policies), or a YAML file")
    serve.add_argument("words", nargs="*", default=[], metavar="policy.key=value", help="overrides")
    serve.add_argument("--address", help=f"host:port or unix:/path (default: serving.address, else {SERVE_ADDRESS})")
    serve.add_argument(
        "--token-file", type=path_option, metavar="FILE", help="file of the bearer token that calls carry"
    )
    serve.add_argument("--certificate", type=path_option, metavar="FILE", help="TLS certificate, PEM")
    serve.add_argument("--private-key", type=path_option, metavar="FILE", help="key of the certificate, PEM")
    serve.add_argument("--stop-with-stdin", action="store_true", help="stop when standard input is closed")
    serve.set_defaults(command=_serve, parser=serve, is_for_any_system=True)


def _serve(parsed: argparse.Namespace) -> int:
    from ray_eval.sections import ListenSection
    from ray_eval.serving.standalone import serve_section, stop_with_stdin

    if parsed.stop_with_stdin:
        stop_with_stdin()
    section, serving = load_policy(parsed.policy, parsed.words)
    listen = ListenSection(
        address=_serve_address(parsed.address, serving.address),
        token=_contents(parsed.token_file).strip() if parsed.token_file else None,
        certificate_pem=_contents(parsed.certificate).encode() if parsed.certificate else None,
        private_key_pem=_contents(parsed.private_key).encode() if parsed.private_key else None,
    )
    serve_section(section, listen, serving.batching())
    return EXIT_COMPLETE


def _serve_address(option: str | None, key: str) -> str:
    if option is not None and key not in (AUTO_ADDRESS, option):
        raise ConfigError(f"--address {option}: expected one address, got serving.address={key} too; leave one out")
    return option or (SERVE_ADDRESS if key == AUTO_ADDRESS else key)


def _contents(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(f"{path}: expected a readable file, got {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path}: expected a text file, got bytes that are no UTF-8") from error


def add_install(commands: Commands) -> None:
    """The parser of `install`."""
    installing = commands.add_parser(
        "install",
        help="make an environment beside this one, for a package that pins other versions",
        epilog=EPILOG,
    )
    add_words(installing)
    installing.set_defaults(command=install, parser=installing)


def add_bench(commands: Commands) -> None:
    """The parser of `bench`."""
    bench = commands.add_parser("bench", help="measure this machine against plain LIBERO", add_help=False)
    bench.add_argument("options", nargs=argparse.REMAINDER)
    bench.set_defaults(command=_bench, parser=bench)


def _bench(parsed: argparse.Namespace) -> int:
    require_eval_extra()
    from ray_eval.bench.command import bench_parser, run_bench

    run_bench(bench_parser().parse_intermixed_args(parsed.options))
    return EXIT_COMPLETE


def add_doctor(commands: Commands) -> None:
    """The parser of `doctor`."""
    doctor = commands.add_parser("doctor", help="check this machine and say what to mend")
    doctor.add_argument(
        "words", nargs="*", metavar="suite=NAME simulator.KEY=VALUE", help="another simulator to look at than LIBERO"
    )
    doctor.set_defaults(command=_doctor, parser=doctor, needs_folder=False)


def _doctor(parsed: argparse.Namespace) -> int:
    from ray_eval.driver.doctor import examine

    return examine(output_console(), parsed.words)
