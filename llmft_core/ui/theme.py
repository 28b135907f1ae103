"""The look of the page as one Gradio theme: paper, ink, one grey, one blue, and orange for what went wrong."""

from pathlib import Path

import gradio as gr
from gradio.themes.utils.fonts import LocalFont
from gradio.themes.utils.sizes import Size

CSS = Path(__file__).with_name("style.css").read_text(encoding="utf-8")

# Two dots, hollow grey and solid blue: before and after.
ICON = (
    "<svg xmlns='http://www.w3.org/2000/svg' viewBox='0 0 32 32'>"
    "<circle cx='9' cy='16' r='6' fill='none' stroke='%237A8189' stroke-width='3'/>"
    "<circle cx='23' cy='16' r='7.5' fill='%232F80D0'/></svg>"
)
HEAD = f'<link rel="icon" href="data:image/svg+xml,{ICON}">'

# (light, dark)
PAGE = ("#FBFAF7", "#131518")
SURFACE = ("#FFFFFF", "#1B1E22")
BAND = ("#F4F3EF", "#1B1E22")
INK = ("#1A1B1D", "#E8E9EB")
MUTED = ("#595E65", "#A3A9B1")
EDGE = ("#8B8E93", "#737982")
HAIR = ("#E3E1DB", "#2E3238")
TUNED = ("#0F5FAE", "#6FB3F2")
TUNED_HOVER = ("#0C4F93", "#8AC3F7")
ON_TUNED = ("#FFFFFF", "#0B1420")
BROKEN = ("#B5431A", "#F0926A")
TINT = ("#E1EDF9", "#14304C")
CLEAR = ("transparent", "transparent")
NONE = ("none", "none")
ZERO = ("0px", "0px")

BLUE = gr.themes.Color(
    "#F2F7FD", "#E1EDF9", "#C3DBF2", "#93BFE8", "#6FB3F2", "#0F5FAE", "#0F5FAE", "#0C4F93", "#0A4079", "#14304C",
    "#0B1420", "tuned",
)  # fmt: skip
PAPER = gr.themes.Color(
    "#FBFAF7", "#F4F3EF", "#E3E1DB", "#C9C8C3", "#A3A9B1", "#8B8E93", "#595E65", "#3A3E44", "#2E3238", "#1B1E22",
    "#131518", "paper",
)  # fmt: skip


def both(**pairs: tuple[str, str]) -> dict[str, str]:
    """{"name": (light, dark)} -> the theme's two settings for each name."""
    twins = {f"{name}_dark": dark for name, (_, dark) in pairs.items()}
    return {name: light for name, (light, _) in pairs.items()} | twins


def theme() -> gr.themes.Base:
    """The theme for `launch(theme=…)`, with two of the bundled fonts whose files hold a whole alphabet."""
    base = gr.themes.Base(
        primary_hue=BLUE,
        secondary_hue=BLUE,
        neutral_hue=PAPER,
        text_size=Size(xxs="12px", xs="13px", sm="14px", md="16px", lg="17px", xl="20px", xxl="26px", name="text"),
        spacing_size=Size(xxs="2px", xs="4px", sm="6px", md="8px", lg="12px", xl="16px", xxl="24px", name="spacing"),
        radius_size=Size(xxs="2px", xs="2px", sm="3px", md="4px", lg="4px", xl="6px", xxl="6px", name="radius"),
        font=[LocalFont("Source Sans Pro", weights=(400, 700)), "ui-sans-serif", "system-ui", "sans-serif"],
        font_mono=[LocalFont("IBM Plex Mono", weights=(400, 700)), "ui-monospace", "monospace"],
    )
    return base.set(**_flat(), **_text(), **_controls(), **_buttons(), **_tables())


def _flat() -> dict[str, str]:
    """No cards: one page colour, no borders, no shadows; space does the grouping."""
    shadows = dict.fromkeys(("shadow_drop", "shadow_drop_lg", "shadow_inset", "block_label_shadow"), "none")
    return (
        both(
            body_background_fill=PAGE, background_fill_primary=PAGE, background_fill_secondary=BAND,
            block_background_fill=CLEAR, panel_background_fill=CLEAR, block_label_background_fill=CLEAR,
            block_title_background_fill=CLEAR, block_border_width=ZERO, panel_border_width=ZERO,
            block_label_border_width=ZERO, border_color_primary=HAIR, border_color_accent=TUNED,
            block_border_color=HAIR, block_shadow=NONE, shadow_spread=ZERO, code_background_fill=BAND,
        )
        | shadows
        | dict.fromkeys(("block_padding", "form_gap_width", "block_label_padding", "block_title_padding"), "0px")
        | dict(layout_gap="20px")
    )  # fmt: skip


def _text() -> dict[str, str]:
    return both(
        body_text_color=INK, body_text_color_subdued=MUTED, block_title_text_color=MUTED, block_label_text_color=MUTED,
        block_info_text_color=MUTED, accordion_text_color=INK, table_text_color=INK, link_text_color=TUNED,
        link_text_color_hover=TUNED_HOVER, link_text_color_visited=TUNED, link_text_color_active=TUNED,
    ) | dict(
        body_text_size="16px", block_title_text_size="14px", block_title_text_weight="400",
        block_label_text_size="14px", block_label_text_weight="400", block_info_text_size="13px",
        prose_header_text_weight="700", color_accent=TUNED[0],
        section_header_text_weight="700", chatbot_text_size="16px",
    )  # fmt: skip


def _controls() -> dict[str, str]:
    return both(
        input_background_fill=SURFACE, input_background_fill_focus=SURFACE, input_background_fill_hover=SURFACE,
        input_border_color=EDGE, input_border_color_focus=TUNED, input_border_color_hover=MUTED,
        input_border_width=("1px", "1px"), input_shadow=NONE, input_shadow_focus=NONE, input_placeholder_color=MUTED,
        checkbox_label_background_fill=CLEAR, checkbox_label_background_fill_hover=BAND,
        checkbox_label_background_fill_selected=TINT, checkbox_label_border_color=EDGE,
        checkbox_label_border_color_hover=MUTED, checkbox_label_border_color_selected=TUNED,
        checkbox_label_border_width=("1px", "1px"), checkbox_label_shadow=NONE, checkbox_label_shadow_hover=NONE,
        checkbox_label_shadow_active=NONE, checkbox_label_text_color=INK, checkbox_label_text_color_selected=INK,
        checkbox_background_color=SURFACE, checkbox_background_color_selected=TUNED, checkbox_border_color=EDGE,
        checkbox_border_color_selected=TUNED, slider_color=TUNED, loader_color=TUNED, stat_background_fill=TUNED,
        color_accent_soft=TINT, error_background_fill=PAGE, error_border_color=BROKEN, error_text_color=INK,
        error_icon_color=BROKEN,
    ) | dict(
        input_padding="8px 12px", input_text_size="16px", checkbox_label_padding="7px 14px",
        checkbox_label_text_size="16px", checkbox_shadow="none",
    )  # fmt: skip


def _buttons() -> dict[str, str]:
    shadows = {
        f"button_{kind}_shadow{state}": NONE
        for kind in ("primary", "secondary", "cancel")
        for state in ("", "_hover", "_active")
    }
    return both(
        button_primary_background_fill=TUNED, button_primary_background_fill_hover=TUNED_HOVER,
        button_primary_border_color=TUNED, button_primary_border_color_hover=TUNED_HOVER,
        button_primary_text_color=ON_TUNED, button_primary_text_color_hover=ON_TUNED,
        button_secondary_background_fill=CLEAR, button_secondary_background_fill_hover=BAND,
        button_secondary_border_color=EDGE, button_secondary_border_color_hover=MUTED,
        button_secondary_text_color=INK, button_secondary_text_color_hover=INK,
        button_cancel_background_fill=CLEAR, button_cancel_background_fill_hover=BAND,
        button_cancel_border_color=BROKEN, button_cancel_border_color_hover=BROKEN,
        button_cancel_text_color=BROKEN, button_cancel_text_color_hover=BROKEN,
        button_border_width=("1px", "1px"), **shadows,
    ) | dict(
        button_large_text_weight="700", button_medium_text_weight="400", button_small_text_weight="400",
        button_large_text_size="16px", button_medium_text_size="16px", button_small_text_size="14px",
        button_large_padding="10px 16px", button_medium_padding="8px 14px", button_small_padding="4px 8px",
        button_large_radius="4px", button_medium_radius="4px", button_small_radius="4px",
        button_transform_hover="none", button_transform_active="none", button_transition="none",
    )  # fmt: skip


def _tables() -> dict[str, str]:
    return both(
        table_even_background_fill=CLEAR, table_odd_background_fill=CLEAR, table_border_color=HAIR, table_row_focus=TINT
    ) | dict(table_radius="0px")
