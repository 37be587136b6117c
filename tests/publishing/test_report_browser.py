"""The report in a real browser, from disk: nothing complains, nothing is asked of the network, the videos play."""

import shutil

import pytest

from genie.publishing.report_page import draw_report

playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium")

PLAYS = """async () => {
  for (const video of document.querySelectorAll('video')) {
    await video.play();
    await new Promise(done => video.requestVideoFrameCallback(done));
    if (!(video.duration > 1) || !video.videoWidth || !video.loop || !video.muted) return video.outerHTML.slice(0, 200);
  }
  return document.querySelectorAll('video').length;
}"""


def test_a_comparison_opens_from_disk(make_run, evaluation, tmp_path):
    runs = [make_run("one"), make_run("two", width=24), make_run("three", evaluation | {"tokenizer": {"psnr": 50.0}})]
    draw_report(runs, tmp_path)
    complaints = []
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=arguments)
        page = browser.new_page(viewport={"width": 390, "height": 844})
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: request.url.startswith(("file:", "data:")) or complaints.append(request.url))
        page.goto((tmp_path / "report.html").as_uri())
        assert page.evaluate(PLAYS) == 3
        assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # tables scroll in themselves
        shown = "[...document.querySelectorAll('video, .strip')].map(one => [one.localName, one.offsetHeight > 0])"
        assert dict(page.evaluate(shown)) == {"video": True, "div": False}
        page.emulate_media(media="print")
        assert dict(page.evaluate(shown)) == {"video": False, "div": True}  # paper shows moments instead
        browser.close()
    assert not complaints
