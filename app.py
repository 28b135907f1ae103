"""The front door: build the page and serve it. A Space runs this file; `--host` and `--port` are for everybody else."""

import argparse
import signal

from llmft_core import checks, ui

demo = ui.build_app()

if __name__ == "__main__":
    flags = argparse.ArgumentParser(description="llmft: what did fine-tuning change?")
    flags.add_argument("--host", help="address to listen on (GRADIO_SERVER_NAME; 127.0.0.1 unless told)")
    flags.add_argument("--port", type=int, help="port to listen on (GRADIO_SERVER_PORT; the first free one from 7860)")
    given = flags.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C; a container's first process would ignore it
    try:
        checks.port(given.port)
        ui.launch(demo, given.host, given.port)
    except ValueError as error:
        flags.exit(2, f"{error}\n")
