"""The app: one page, five tabs. Everything of Gradio lives in this folder; nothing here loads a model.

TABS names the files, in the order shown. A tab has TITLE and build(page) -> View (`page.py`).
"""

import inspect
import os
import threading
from contextlib import contextmanager
from importlib import import_module

TABS = ("try", "train", "results", "weights", "runs")

WARM_UP = 1.0  # seconds after the start: plotly is loaded while somebody reads the first page

os.environ.setdefault("GRADIO_ANALYTICS_ENABLED", "False")  # before gradio is imported: it reports home otherwise


@contextmanager
def _no_stubs():
    """Keep Gradio from writing its .pyi files again at import, which takes longer than the rest of it.

    It asks inspect for the source of each component and leaves the file alone when there is none.
    """
    ask = inspect.getfile

    def answer(thing):
        if isinstance(thing, type) and thing.__module__.startswith("gradio."):
            raise OSError("no stubs")
        return ask(thing)

    inspect.getfile = answer
    try:
        yield
    finally:
        inspect.getfile = ask


with _no_stubs():
    import gradio as gr


def build_app(speaker=None) -> gr.Blocks:
    """The page. `speaker` answers the Try tab (`jobs.Speaker` unless a test brings its own)."""
    from llmft_core.ui.page import Page
    from llmft_core.ui.thrift import Thrifty

    with Thrifty(title="llmft: what did fine-tuning change?", fill_width=True, analytics_enabled=False) as demo:
        page = Page(speaker)
        page.top()
        with gr.Tabs(elem_id="tabs", overflow_behavior="wrap") as page.tabs:
            for name in TABS:
                tab = import_module(f"llmft_core.ui.{name}_tab")
                with gr.Tab(tab.TITLE, id=name, elem_id=f"tab-{name}") as page.tab_items[name]:
                    page.views[name] = tab.build(page)
        page.wire(demo)
    return demo


def launch(demo: gr.Blocks, host: str | None = None, port: int | None = None, **more) -> None:
    """Serve the page: to this machine only, unless told otherwise here or by GRADIO_SERVER_NAME and _PORT.

    Raises ValueError if the address cannot be listened on.
    """
    from llmft_core.ui.assets import shelved
    from llmft_core.ui.theme import CSS, HEAD, theme

    threading.Timer(WARM_UP, import_module, ["llmft_core.charts"]).start()
    demo.queue(default_concurrency_limit=16, max_size=128)
    host = host or os.environ.get("GRADIO_SERVER_NAME") or "127.0.0.1"
    try:
        demo.launch(
            server_name=host, server_port=port, theme=theme(), css=CSS, head=HEAD,
            footer_links=[], run_history=False, ssr_mode=False, pwa=False,
            app_kwargs={"lifespan": shelved}, **more,
        )  # fmt: skip
    except (OSError, OverflowError, ValueError):
        where = f"{host}:{port or os.environ.get('GRADIO_SERVER_PORT') or '7860 to 7959'}"
        raise ValueError(f"Cannot listen on {where}: it is taken or not allowed; choose another --port.") from None
