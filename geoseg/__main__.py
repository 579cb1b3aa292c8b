"""``python -m geoseg`` and the command ``geoseg``."""

import sys

from geoseg.allocator import collect_seldom, restart_keeping_memory

_WITH_NETWORKS = {"segment", "batch", "watch", "plan", "demo", "train", "evaluate"}


def run() -> None:
    """Run the command line; commands that run networks get an allocator that suits them."""
    if _WITH_NETWORKS & set(sys.argv[1:3]):
        restart_keeping_memory(sys.argv[1:])
    collect_seldom()
    # not before the restart, which would load it twice
    from geoseg.cli.main import main

    main()


if __name__ == "__main__":
    run()
