"""The page, made with Gradio: a photo, the choice of a model, the result beside the photo, the models' cards."""

import html
from abc import ABCMeta
from collections.abc import Sequence
from pathlib import Path

import gradio as gr
from gradio_client.utils import is_http_url_like

from keras_fsr import pretrained
from keras_fsr.inference.folder_runs import CONTINUABLE
from keras_fsr.inference.images import read_image
from keras_fsr.pretrained import Card
from keras_fsr.web import texts
from keras_fsr.web.jobs import KEEP, CancelledError, Jobs, Order

TITLE = "Enlarge a face photo"
BAR = gr.Progress()
SWEEP = 600  # seconds from one deletion of what is older than KEEP to the next

# The fonts of the reader's system: the default ones would be fetched. White on the 700s is readable.
THEME = gr.themes.Default(
    primary_hue="teal", font=["system-ui", "sans-serif"], font_mono=["ui-monospace", "monospace"]
).set(
    button_primary_background_fill="*primary_700",
    button_primary_background_fill_hover="*primary_800",
    button_primary_background_fill_dark="*primary_700",
    button_primary_background_fill_hover_dark="*primary_800",
    block_info_text_color="*neutral_600",
    block_info_text_color_dark="*neutral_300",
)
STYLE = """
.models .wrap { flex-direction: column; }
#status p { margin: 0; overflow-wrap: anywhere; }
#status [role=alert] { padding: .75rem 1rem; border-radius: 8px; background: #fbeae9; color: #8c1d18; }
.dark #status [role=alert] { background: #3a1c1b; color: #f2b8b5; }
#card table { width: auto; }
button[role=tab][aria-selected=true] { color: var(--body-text-color); }
"""
# Whatever is pasted anywhere goes where a chosen file goes. What is said in the status is read out.
SCRIPT = """
() => {
  document.querySelector("#status")?.setAttribute("aria-live", "polite");
  document.addEventListener("paste", (event) => {
    const file = [...(event.clipboardData?.files ?? [])].find(({ type }) => type.startsWith("image/"));
    const input = document.querySelector("#photo input[type=file]");
    if (!file || !input) return;
    event.preventDefault();
    const files = new DataTransfer();
    files.items.add(file);
    input.files = files.files;
    input.dispatchEvent(new Event("change", { bubbles: true }));
  }, true);
}
"""


class _WithoutStub(type(gr.Image)):
    """Makes a component's class without the stub file that Gradio would write beside this module."""

    def __new__(mcs, name, bases, attributes):
        return ABCMeta.__new__(mcs, name, bases, attributes)


class Photo(gr.Image, metaclass=_WithoutStub):
    """An input that gives its file as it was uploaded, not decoded, and fetches no addresses."""

    is_template = True  # the page shows it as it does its base

    def preprocess(self, payload) -> Path | None:
        return Path(payload.path) if payload and payload.path else None

    async def async_move_resource_to_block_cache(self, url_or_file_path) -> str | None:
        if url_or_file_path and is_http_url_like(str(url_or_file_path)):
            raise gr.Error("Addresses are not fetched; give the photo itself.", print_exception=False)
        return await super().async_move_resource_to_block_cache(url_or_file_path)


class Handlers:
    """What the page's events call. Each takes and returns values of components, as `build` lists them."""

    def __init__(self, jobs: Jobs, cards: dict[str, Card], max_pixels: int):
        self.jobs, self.cards, self.max_pixels = jobs, cards, max_pixels

    def receive(self, photo: Path | None):
        """Photo -> photo, pair, download, start, status: a new photo is read at once, and the old result goes."""
        kept, words = None, ""
        if photo is not None:
            try:
                picture = read_image(photo, self.max_pixels)
                kept, words = gr.skip(), said(f"{photo.name}: {picture.width} × {picture.height} pixels.")
            except CONTINUABLE as error:
                words = refused(self.jobs.reason(photo, error))
        download = gr.DownloadButton(value=None, interactive=False)
        return kept, None, download, gr.Button(interactive=kept is not None), words

    def choose(self, model: str):
        """Model -> strength, card."""
        card = self.cards[model]
        return gr.Slider(visible=bool(card.fidelity)), texts.about(card)

    def enlarge(
        self, photo: Path | None, model: str, strength: float, faces: bool, request: gr.Request, progress=BAR
    ):
        """Photo, model, strength, faces -> pair, download, status."""

        def at_tile(done: int, total: int) -> None:
            progress((done, total), desc="Enlarging", unit="tiles")

        if photo is None:
            return gr.skip(), gr.skip(), refused("Choose a photo first.")
        order = Order(model, strength if self.cards[model].fidelity else None, faces)
        try:
            result = self.jobs.enlarge(photo, order, request.session_hash, at_tile)
        except CancelledError:
            return gr.skip(), gr.skip(), said("Cancelled.")
        except CONTINUABLE as error:
            return gr.skip(), gr.skip(), refused(self.jobs.reason(photo, error))
        download = gr.DownloadButton(value=result.after, interactive=True)
        return (result.before, result.after), download, said(result.facts)

    def cancel(self, request: gr.Request):
        """-> status, where a job was under way; one that waits goes without a word."""
        return said("Cancelled.") if self.jobs.cancel(request.session_hash) else gr.skip()

    def leave(self, request: gr.Request) -> None:
        """The page was closed, or its computer is gone."""
        self.jobs.cancel(request.session_hash)


def said(text: str) -> str:
    return f"<p>{html.escape(text)}</p>"


def refused(text: str) -> str:
    return f'<p role="alert">{html.escape(text)}</p>'


def build(jobs: Jobs, models: Sequence[str], max_pixels: int, at_once: int, queue: int) -> gr.Blocks:
    """The page.

    Args:
        jobs: what does the work.
        models: names of shipped models, the first of which is chosen.
        max_pixels: of a photo; larger ones are refused when they are dropped.
        at_once: jobs that are worked on at once.
        queue: jobs that wait; to more the page says that it is busy.
    """
    cards = {name: pretrained.card(name) for name in models}
    first, handlers = cards[models[0]], Handlers(jobs, cards, max_pixels)
    with gr.Blocks(title=TITLE, analytics_enabled=False, delete_cache=(SWEEP, KEEP)) as blocks:
        gr.Markdown(f"# {TITLE}\nThe photo goes no further than to the computer that serves this page.")
        with gr.Tab("Enlarge"), gr.Row():
            with gr.Column(min_width=280):
                photo = Photo(
                    label="Photo: drop, paste or choose one", elem_id="photo", sources=["upload"], height=280
                )
                choices = [(texts.choice(card), name) for name, card in cards.items()]
                model = gr.Radio(choices, value=first.name, label="Model", elem_classes="models")
                strength = gr.Slider(
                    0,
                    1,
                    value=1,
                    step=0.05,
                    label="Strength",
                    info="0 is faithful and softer, 1 is sharper and partly invented",
                    visible=bool(first.fidelity),
                )
                faces = gr.Checkbox(
                    label="Faces in a larger photo",
                    info="The model enlarges the faces that are found, bicubic interpolation the rest",
                )
                with gr.Row():
                    start = gr.Button("Enlarge", variant="primary", interactive=False, scale=3)
                    stop = gr.Button("Cancel", min_width=80)
                status = gr.HTML(elem_id="status")
            with gr.Column(min_width=280, scale=2):
                pair = gr.ImageSlider(
                    label="Before and after",
                    elem_id="pair",
                    type="pil",
                    format="png",
                    interactive=False,
                    buttons=["fullscreen"],
                )
                download = gr.DownloadButton("Download PNG", variant="primary", interactive=False)
                gr.Markdown(texts.GUESS)
        with gr.Tab("About this model"):
            card = gr.Markdown(texts.about(first), elem_id="card")

        quick = {"queue": False, "show_progress": "hidden"}
        outputs = [photo, pair, download, start, status]
        gr.on([photo.upload, photo.clear], handlers.receive, photo, outputs, **quick)
        model.change(handlers.choose, model, [strength, card], **quick)
        run = start.click(
            handlers.enlarge,
            [photo, model, strength, faces],
            [pair, download, status],
            concurrency_limit=at_once,
            show_progress_on=pair,
        )
        stop.click(handlers.cancel, None, status, cancels=run, **quick)
        blocks.unload(handlers.leave)
    return blocks.queue(max_size=queue, api_open=False)
