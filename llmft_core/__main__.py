"""`python -m llmft_core`: the command line."""

import sys

if __name__ == "__main__":
    try:
        from llmft_core.cli import main

        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:  # before the first command was read
        sys.exit(130)
