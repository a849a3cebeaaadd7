"""
The search page in Chromium, as its visitors use it.

Whatever a test does, the browser must have nothing to complain about: no message on the console, which is also where violations
of the content security policy and scripts that fail are reported, and no request to another host.
"""

import json
import re
import zipfile
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest
from chat_server import PIECES, chat_server
from page_index import ATTACKS, make_index, small_pipeline
from rerank_servers import KEY, local_engine, running

from rerank_plugin.serving.page.settings import ChatSettings, PageSettings
from rerank_plugin.serving.search_service import SearchService

pytestmark = pytest.mark.slow

QUERY = "the river and the sea"
SERIOUS = ("serious", "critical")


@pytest.fixture(scope="module")
def url(tmp_path_factory, repository, cross_encoder):
    folder = tmp_path_factory.mktemp("browser")
    yaml = small_pipeline(folder, repository, cross_encoder)
    service = SearchService(make_index(folder), [str(yaml), "bm25"], max_waiting=20)
    with chat_server() as (chat_url, _):
        page = PageSettings(writable=True, max_upload_bytes=100_000, chat=ChatSettings(chat_url, "small"))
        with running({"tiny": local_engine(cross_encoder)}, keys=(), searches=service, page=page) as address:
            yield address


@contextmanager
def visit(browser, url, path="/", *, allowed=(), **options):
    context = browser.new_context(viewport={"width": 1400, "height": 900}, **options)
    page = context.new_page()
    page.set_default_timeout(60_000)
    complaints, hosts = [], set()
    page.on("console", lambda message: complaints.append(message.text))
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: hosts.add(urlsplit(request.url).netloc))
    page.goto(url + path)
    try:
        yield page
        assert [text for text in complaints if not any(part in text for part in allowed)] == []
        assert hosts - {urlsplit(url).netloc, ""} == set()
        assert page.evaluate("window.attacked") is None
    finally:
        context.close()


@pytest.fixture
def page(browser, url):
    with visit(browser, url) as page:
        yield page


def until(page, expression):
    """Wait until an expression is true. Playwright's own way evaluates text in the page, which the page forbids."""
    for _ in range(1200):
        if page.evaluate(expression):
            return
        page.wait_for_timeout(50)
    pytest.fail(f"never came true: {expression}")


def search(page, query=QUERY):
    page.get_by_role("searchbox", name="Query").fill(query)
    page.keyboard.press("Enter")
    page.wait_for_selector("#results .is-second .hit")
    page.wait_for_selector(".mark-sentence", state="attached")


def titles(page, which="is-second"):
    return page.locator(f"#results .{which} > .hits:not(.is-beyond) .title").all_inner_texts()


def violations(page, axe):
    page.evaluate(axe)
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]
    return [(one["id"], [node["target"] for node in one["nodes"]][:3]) for one in found if one["impact"] in SERIOUS]


def test_both_stages_are_shown_with_lines_between_them(page):
    search(page)
    assert len(titles(page)) == len(titles(page, "is-first")) == 10
    page.wait_for_selector(".gutter path", state="attached")
    linked = page.locator(".gutter path").count()
    shown = set(page.locator('[data-side="1"]').evaluate_all("all => all.map(one => one.dataset.id)"))
    assert linked == len(shown & set(page.locator('[data-side="0"]').evaluate_all("all => all.map(one => one.dataset.id)")))
    assert linked >= 10
    assert "candidates" in page.locator("#summary").inner_text()
    assert "bm25_retriever" in page.locator(".time-legend").inner_text()
    assert page.locator(".mark-word").count() > 0
    page.locator("#results .is-second .title").first.click()
    assert page.locator(".detail:visible .passage").count() == 1
    assert "First stage: rank" in page.locator(".detail:visible").inner_text()


def test_what_is_seen_is_in_the_address_and_going_back_works(page, browser, url):
    search(page)
    page.locator("#controls summary").click()
    page.get_by_label("Hits shown").fill("3")
    page.keyboard.press("Tab")
    until(page, "document.querySelectorAll('#results .is-second > .hits:not(.is-beyond) .hit').length === 3")
    page.get_by_role("checkbox", name="Second stage").uncheck()
    until(page, "document.querySelectorAll('#results .list').length === 1")
    shown, address = titles(page), page.url
    assert "k=3" in address
    assert "rerank=0" in address
    with visit(browser, url, address.removeprefix(url)) as other:
        other.wait_for_selector("#results .hit")
        assert titles(other) == shown
    page.go_back()
    until(page, "document.querySelectorAll('#results .list').length === 2")
    assert "rerank=0" not in page.url


def test_two_pipelines_are_shown_side_by_side(page):
    search(page)
    page.locator("#controls summary").click()
    page.get_by_label("Beside it").select_option("bm25")
    until(page, "document.querySelector('#list-1')?.textContent === 'bm25'")
    assert page.locator("#list-0").inner_text() == "small"
    page.get_by_label("Pipeline", exact=True).select_option("bm25")
    until(page, "document.querySelector('#list-0')?.textContent === 'bm25'")


def test_filters_come_from_the_metadata(page):
    search(page, "river")
    page.locator(".facet summary", has_text="Language").click()
    page.locator(".facet-values .check", has_text="en").locator("input").click()
    page.wait_for_selector(".facet.is-set")
    found = set(page.locator("#results [data-side]").evaluate_all("all => all.map(one => one.dataset.id)"))
    assert found == {document.id for document in ATTACKS if document.meta["lang"] == "en"}
    assert "lang" in page.url
    page.get_by_role("button", name="Clear filters").click()
    page.wait_for_selector(".facet.is-set", state="detached")


def test_the_threshold_shows_what_a_prompt_would_receive_and_when_nothing_answers(page):
    search(page)
    slider = page.get_by_label("Least probability")
    slider.fill("0")
    assert "10 passages" in page.locator("#tool").inner_text()
    assert page.locator("pre.prompt").inner_text().startswith("[1] ")
    slider.fill("1")
    assert "Nothing here answers this" in page.locator("#notice").inner_text()
    assert "t=1" in page.url


def test_the_tools_explain_depth_and_what_is_missing_and_can_be_copied(page, browser, url):
    search(page)
    page.get_by_role("tab", name="Depth").click()
    assert page.locator(".chart .curve").count() == 1
    assert "first" in page.locator("#tool").inner_text()
    page.get_by_role("tab", name="Why not?").click()
    page.get_by_label("Which document do you miss?").fill("library books coffee")
    page.keyboard.press("Enter")
    page.locator("#tool .choices button").first.click()
    page.wait_for_selector(".verdict")
    assert "bm25_retriever" in page.locator("#tool table").inner_text()
    page.get_by_role("tab", name="Copy", exact=True).click()
    until(page, "document.querySelector('pre.code').textContent.startsWith('curl')")
    page.get_by_label("Format").select_option("python")
    until(page, "document.querySelector('pre.code').textContent.startsWith('import')")
    script = page.locator("pre.code").inner_text()
    printed = []
    exec(compile(script, "copied", "exec"), {"print": lambda *values: printed.append(values), "__name__": "__main__"})
    assert [title for _, title, _ in printed] == titles(page)
    page.get_by_label("Format").select_option("yaml")
    until(page, "document.querySelector('pre.code').textContent.startsWith('components:')")


def test_everything_can_be_done_by_keyboard(page):
    until(page, "document.activeElement.id === 'q'")
    page.locator("#show-keys").focus()
    page.keyboard.press("/")
    page.keyboard.type(QUERY)
    page.keyboard.press("Enter")
    until(page, "document.activeElement.id === 'results'")
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    page.keyboard.press("j")
    second = page.locator("#results .is-second .title").nth(1)
    assert page.evaluate("document.activeElement.textContent") == second.inner_text()
    page.keyboard.press("Enter")
    assert second.get_attribute("aria-expanded") == "true"
    page.keyboard.press("k")
    page.keyboard.press("o")
    page.wait_for_selector("#dialog-document[open] .passage")
    page.keyboard.press("Escape")
    page.keyboard.press("?")
    page.wait_for_selector("#dialog-keys[open]")
    page.keyboard.press("Escape")
    assert page.locator("dialog[open]").count() == 0


def test_an_answer_streams_beside_its_sources_and_bad_citations_are_marked(page):
    search(page)
    page.get_by_role("tab", name="Answer").click()
    page.get_by_label("Least probability").fill("0")
    page.get_by_role("button", name="Answer from").click()
    page.wait_for_selector(".citation.missing")
    answer = re.sub(r"\D", "", page.locator(".answer-text").inner_text())
    assert answer == re.sub(r"\D", "", "".join(PIECES))
    assert page.locator(".claim.is-uncited").inner_text() == PIECES[-1]
    page.locator(".citation").first.click()
    assert page.evaluate("document.activeElement.classList.contains('source')")
    assert page.locator(".source.is-linked").count() == 1


def test_files_are_added_removed_and_brought_back(page):
    page.get_by_role("button", name="Documents", exact=True).click()
    page.locator("#files").set_input_files(
        [
            {"name": "zebra.md", "mimeType": "text/markdown", "buffer": b"# Zebra\n\nA zebra drinks from the river.\n"},
            {"name": "fake.pdf", "mimeType": "application/pdf", "buffer": b"no pdf"},
        ]
    )
    page.wait_for_selector(".job.is-done")
    page.wait_for_selector(".job.is-failed")
    assert "fake.pdf is not a PDF file" in page.locator(".job.is-failed").inner_text()
    page.get_by_role("button", name="Search", exact=True).first.click()
    search(page, "zebra")
    assert titles(page)[0] == "Zebra"
    page.get_by_role("button", name="Documents", exact=True).click()
    page.get_by_role("button", name="Remove zebra.md").click()
    page.wait_for_selector("text=zebra.md was removed.")
    page.get_by_role("button", name="Undo").first.click()
    page.wait_for_selector(".job.is-done")
    page.get_by_role("button", name="Remove zebra.md").wait_for()
    page.get_by_role("button", name="Compare every passage").click()
    page.wait_for_selector("text=Every passage is as it was written.")


def test_hits_are_graded_by_key_and_the_grades_last(page):
    """A hit of both stages has its grade in both columns; in that of the first stage it is folded in."""
    search(page, "library books")
    page.locator("#results .is-second .title").first.focus()
    page.keyboard.press("3")
    page.keyboard.press("j")
    page.wait_for_selector('.is-second .grade[aria-pressed="true"]')
    page.keyboard.press("0")
    until(page, "document.querySelectorAll('.is-second .grade[aria-pressed=true]').length === 2")
    page.reload()
    until(page, "document.querySelectorAll('.is-second .grade[aria-pressed=true]').length === 2")
    assert page.locator('.is-second .grade[aria-pressed="true"]').all_inner_texts() == ["3", "0"]
    page.locator("#results .is-second .title").first.focus()
    page.keyboard.press("u")
    until(page, "document.querySelectorAll('.is-second .grade[aria-pressed=true]').length === 1")
    page.locator('.is-second .grade[aria-pressed="true"]').click()
    until(page, "document.querySelectorAll('.is-second .grade[aria-pressed=true]').length === 0")


def test_queries_are_judged_in_a_pool_evaluated_and_exported(page, axe):
    page.get_by_role("button", name="Judge", exact=True).click()
    page.get_by_label("Your name").fill("anna")
    page.get_by_label("Add queries").fill("capital of france\nred fox\n")
    page.get_by_role("button", name="Add", exact=True).click()
    for query in ("capital of france", "red fox"):
        page.locator("#judge-queries").get_by_role("button", name=query).click()
        page.wait_for_selector(f"#judge-pool h2:has-text('{query}')")
        assert page.locator("#judge-pool .place").count() > 1
        page.locator("#judge-pool .title").first.focus()
        for key in ("2", "j", "0", "j", "1"):
            before = page.locator('.grade[aria-pressed="true"]').count()
            page.keyboard.press(key)
            if key != "j":
                until(page, f"document.querySelectorAll('.grade[aria-pressed=true]').length === {before + 1}")
    page.wait_for_selector("text=/2 of \\d+ queries judged/")
    assert violations(page, axe) == []
    page.locator("#judge-evaluation").get_by_role("button").click()
    page.wait_for_selector("#judge-evaluation table")
    assert {"small", "bm25"} <= set(page.locator("#judge-evaluation td:first-child").all_inner_texts())
    with page.expect_download() as downloading:
        page.get_by_role("button", name="Export").click()
    with zipfile.ZipFile(downloading.value.path()) as archive:
        assert {"corpus.jsonl", "queries.jsonl"} <= {name.rpartition("/")[2] for name in archive.namelist()}


def test_pasted_texts_are_ranked(page):
    page.get_by_role("button", name="Try your own texts").click()
    page.get_by_role("button", name="Example").click()
    page.get_by_role("button", name="Rank").click()
    page.wait_for_selector(".pasted .hit")
    assert page.locator(".pasted .hit").count() == 4
    assert page.locator(".pasted .mark-sentence").count() == 4


def test_a_stored_attack_is_text_in_every_view(page):
    search(page, "river left bell")
    page.locator("#controls summary").click()
    page.get_by_label("Hits shown").fill("100")
    page.keyboard.press("Tab")
    until(page, "document.querySelectorAll('#results .is-second .hit').length > 30")
    for document in ATTACKS:
        hit = page.locator(f"#results .is-second .hit[data-id={json.dumps(document.id)}]")
        hit.locator(".title").click()
        assert hit.locator(".passage").first.inner_text()[:5] == "The r" if document is ATTACKS[0] else "river"
        hit.get_by_role("button", name="Open document").click()
        page.wait_for_selector("#dialog-document[open] .passage")
        page.get_by_role("button", name="Close").first.click()
    page.get_by_label("Least probability").fill("0")
    for summary in page.locator(".facet summary").all():
        summary.click()
    for tool in ("Depth", "Copy", "Why not?"):
        page.get_by_role("tab", name=tool, exact=True).click()
    page.get_by_label("Which document do you miss?").fill("script img svg river")
    page.keyboard.press("Enter")
    page.locator("#tool .choices button").first.click()
    page.wait_for_selector(".verdict")
    assert page.locator("#main script, #main img, #results svg animate").count() == 0
    assert page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser, url, axe, scheme):
    with visit(browser, url, color_scheme=scheme) as page:
        assert violations(page, axe) == []
        search(page)
        page.locator("#results .is-second .title").first.click()
        page.locator("#controls summary").click()
        assert violations(page, axe) == []
        for tool in ("Depth", "Why not?", "Copy", "Answer"):
            page.get_by_role("tab", name=tool, exact=True).click()
            assert violations(page, axe) == [], tool
        for view in ("Try your own texts", "Documents"):
            page.get_by_role("button", name=view, exact=True).click()
            page.wait_for_timeout(50)
            assert violations(page, axe) == [], view
        page.keyboard.press("Escape")
        page.locator("#show-keys").click()
        assert violations(page, axe) == []
        ground = page.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"\d+", ground)[:3])) < 200) == (scheme == "dark")


def test_the_colours_can_be_chosen(page):
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.locator("#theme").click()
    page.locator("#theme").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_it_fits_a_phone(browser, url, axe):
    with visit(browser, url, has_touch=True, is_mobile=True, device_scale_factor=2) as page:
        page.set_viewport_size({"width": 390, "height": 844})
        search(page)
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        assert page.locator("#results .is-second").is_visible()
        assert not page.locator("#results .is-first").is_visible()
        page.locator(".switch button").first.click()
        assert page.locator("#results .is-first").is_visible()
        page.get_by_role("tab", name="Copy", exact=True).click()
        for view in ("Try your own texts", "Documents"):
            page.get_by_role("button", name=view, exact=True).click()
            assert page.evaluate("document.documentElement.scrollWidth") <= 390, view
        assert violations(page, axe) == []


def test_it_speaks_russian(browser, url, axe):
    with visit(browser, url, locale="ru-RU") as page:
        assert page.title().startswith("rerank: первая ступень")
        page.get_by_role("searchbox", name="Запрос").fill(QUERY)
        page.keyboard.press("Enter")
        page.wait_for_selector("#results .is-second .hit")
        assert page.locator("#list-1").inner_text() == "Вторая ступень"
        assert "кандидат" in page.locator("#summary").inner_text()
        assert not re.search(r"\{\w+\}", page.locator("body").inner_text())
        assert violations(page, axe) == []
        shown = titles(page)
        page.get_by_role("link", name="EN", exact=True).click()
        page.wait_for_selector("#results .is-second .hit")
        assert page.locator("#list-1").inner_text() == "Second stage"
        assert titles(page) == shown


def test_a_server_with_keys_asks_for_one_and_keeps_it_for_the_tab(browser, cross_encoder):
    with (
        running({"tiny": local_engine(cross_encoder)}) as url,
        visit(browser, url, allowed=["401"]) as page,
    ):
        page.locator("#login-key").fill("a-wrong-key-that-is-long")
        page.get_by_role("button", name="Enter").click()
        page.wait_for_selector("text=This key is not one of the server's.")
        page.locator("#login-key").fill(KEY)
        page.get_by_role("button", name="Enter").click()
        page.get_by_role("button", name="Example").click()
        page.get_by_role("button", name="Rank").click()
        page.wait_for_selector(".pasted .hit")
        page.reload()
        page.get_by_role("button", name="Example").wait_for()
        assert page.locator("dialog[open]").count() == 0
        assert KEY not in page.url
        assert page.context.cookies() == []


def test_a_server_without_an_index_offers_to_try_own_texts(browser, cross_encoder, axe):
    with running({"tiny": local_engine(cross_encoder)}, keys=()) as url, visit(browser, url) as page:
        page.get_by_role("button", name="Example").wait_for()
        assert page.get_by_role("button", name="Try your own texts").get_attribute("aria-current") == "page"
        assert violations(page, axe) == []


def test_what_goes_wrong_is_told_in_one_line(browser, url):
    with visit(browser, url, allowed=["400"]) as page:
        search(page)
        page.goto(f"{url}/?q=river&pipeline=none")
        page.wait_for_selector(".notice.bad")
        assert "unknown pipeline 'none'" in page.locator(".notice.bad").inner_text()
