"""
The pictures of docs/page.md: the search page in Chromium, on the sample corpus, with the bundled model.

`make refresh-docs` takes them; with a folder as its argument, this file takes all of its pictures there. The chat server of the tests stands in for a chat model; its citations are checked by the real one.
"""

import io
import shutil
import sys
import tempfile
from pathlib import Path

from chat_server import chat_server
from PIL import Image
from rerank_servers import LIMITS, running

from rerank_plugin.components.config import RankerConfig
from rerank_plugin.indexing import index_paths
from rerank_plugin.scoring.loading.spec import DEFAULT_MODEL
from rerank_plugin.serving.admission import Admission
from rerank_plugin.serving.local_engine import LocalEngine
from rerank_plugin.serving.page.settings import ChatSettings, PageSettings
from rerank_plugin.serving.search_service import SearchService
from rerank_plugin.serving.token_limits import TokenLimits

ROOT = Path(__file__).parent.parent
PICTURES = ROOT / "docs" / "pictures"
# Those that the page shows; the others are to be looked at.
SHOWN = ("page_search", "page_answer", "page_documents")
QUERY = "coffee maker slow and loud from chalk"
ANSWER = [
    "Limescale narrows the pipes and insulates the heater, so the machine gets slow and loud [1].",
    " Run a descaler or citric acid through it, then rinse with clear water [1].",
    " Descaling also makes the coffee sweeter [2].",
]


def take(folder: Path, *, only: tuple[str, ...] | None) -> None:
    """Take the pictures, or only some of them, into a folder."""
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory() as work:
        corpus = Path(shutil.copytree(ROOT / "sample_corpus", Path(work) / "household"))
        index = Path(work) / "index"
        pages = [ROOT / "docs" / f"{name}.md" for name in ("ranker", "store", "pipelines", "training", "limits")]
        index_paths([corpus, *pages], index, pipeline="indexing_keyword")
        # Scores are kept, as most pictures are of the same query.
        yaml = (
            (ROOT / "pipelines" / "bm25_rerank.yaml")
            .read_text()
            .replace("fusion_weight", "score_cache: memory\n      fusion_weight")
        )
        (Path(work) / "bm25_rerank.yaml").write_text(yaml)
        names = [str(Path(work) / "bm25_rerank.yaml"), "bm25"]
        service = SearchService(index, names, max_waiting=20)
        with chat_server(ANSWER) as (chat_url, _), sync_playwright() as playwright:
            settings = PageSettings(writable=True, chat=ChatSettings(chat_url, "llama3.2"))
            limits = TokenLimits(LIMITS.text_tokens, LIMITS.tokens)
            engine = LocalEngine(RankerConfig(DEFAULT_MODEL), admission=Admission(max_requests=20), token_limits=limits)
            with running({DEFAULT_MODEL: engine}, keys=(), searches=service, page=settings) as url:
                chromium = playwright.chromium.launch(
                    executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
                )
                _pictures(chromium, url, folder, only)
                chromium.close()


def _pictures(chromium, url: str, folder: Path, only: tuple[str, ...] | None) -> None:
    def shoot(page, name: str, **options) -> None:
        if only is None or name in only:
            # With fewer colours, a third of the size.
            picture = Image.open(io.BytesIO(page.screenshot(**options))).convert("RGB").quantize(128)
            picture.save(folder / f"{name}.png", optimize=True)

    def visit(path: str, width: int = 1440, height: int = 900, **options):
        page = chromium.new_context(viewport={"width": width, "height": height}, **options).new_page()
        page.set_default_timeout(240_000)
        page.goto(url + path)
        return page

    def found(page):
        page.wait_for_selector(".mark-sentence", state="attached")
        page.wait_for_timeout(400)

    address = f"/?q={QUERY.replace(' ', '+')}"
    page = visit(address)
    found(page)
    page.reload()  # what it takes to load the model is not worth showing
    found(page)
    shoot(page, "page_search")
    page.locator("#results .is-second .title").first.click()
    page.locator("#controls summary").click()
    shoot(page, "page_open", full_page=True)
    for tool in ("Depth", "Copy"):
        page.get_by_role("tab", name=tool).click()
        page.wait_for_timeout(200)
        shoot(page, f"page_{tool.split()[0].lower()}")
    page.get_by_role("tab", name="Why not?").click()
    page.get_by_label("Which document do you miss?").fill("sourdough bread sour")
    page.keyboard.press("Enter")
    page.locator("#tool .choices button").first.click()
    page.wait_for_selector(".verdict")
    shoot(page, "page_why")
    page = visit(f"{address}&tool=answer", 1440, 820)
    found(page)
    page.get_by_role("button", name="Answer from").click()
    page.wait_for_selector(".answer .good-text, .answer .bad-text")
    shoot(page, "page_answer")
    page = visit("/?view=judge")
    page.get_by_label("Add queries").fill(f"{QUERY}\nwhy does my bread smell sour\nhow do I keep coffee beans fresh\n")
    page.get_by_role("button", name="Add", exact=True).click()
    page.locator("#judge-queries").get_by_role("button", name=QUERY).click()
    page.wait_for_selector("#judge-pool .title")
    for number, grade in enumerate((2, 0, 3)):
        page.locator("#judge-pool .hit").nth(number).locator(".grade").nth(grade).click()
    page.wait_for_selector("text=1 of 3 queries judged")
    shoot(page, "page_judge")
    page = visit("/?view=documents", 1200, 760)
    page.wait_for_selector(".files")
    page.locator("#files").set_input_files(
        [
            {"name": "kettle manual.md", "mimeType": "text/markdown", "buffer": b"# Kettle\n\nDescale it once a month.\n"},
            {"name": "receipt.pdf", "mimeType": "application/pdf", "buffer": b"not a PDF"},
        ]
    )
    page.wait_for_selector(".job.is-done")
    page.wait_for_selector(".job.is-failed")
    page.wait_for_timeout(300)
    shoot(page, "page_documents")
    page = visit(address, color_scheme="dark")
    found(page)
    shoot(page, "page_dark")
    page = visit(f"{address}&lang=ru")
    found(page)
    shoot(page, "page_russian")
    page = visit(address, 390, 844, device_scale_factor=2, is_mobile=True)
    found(page)
    shoot(page, "page_phone")
    page = visit(f"{address}&with=bm25")
    found(page)
    shoot(page, "page_two")
    page = visit("/?q=who+won+the+football+world+cup")
    found(page)
    shoot(page, "page_nothing")
    page = visit("/?view=paste")
    page.get_by_role("button", name="Example").click()
    page.get_by_role("button", name="Rank").click()
    page.wait_for_selector(".pasted .hit")
    shoot(page, "page_paste")
    page = visit("/")
    page.wait_for_selector(".welcome-title")
    shoot(page, "page_welcome")


if __name__ == "__main__":
    if len(sys.argv) > 1:
        take(Path(sys.argv[1]), only=None)
    else:
        take(PICTURES, only=SHOWN)
