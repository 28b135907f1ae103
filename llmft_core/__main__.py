"""`python -m llmft_core`: the command line."""

import signal
import sys

if __name__ == "__main__":
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: whoever ends us ends what we started
    try:
        from llmft_core.cli import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before the first command was read
        sys.exit(130)
