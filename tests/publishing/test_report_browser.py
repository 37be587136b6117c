"""The report in a real browser, from disk: nothing complains, nothing is asked of the network, the videos play."""

from genie.publishing.report_page import draw_report

PLAYS = """async () => {
  for (const video of document.querySelectorAll('video')) {
    await video.play();
    await new Promise(done => video.requestVideoFrameCallback(done));
    if (!(video.duration > 1) || !video.videoWidth || !video.loop || !video.muted) return video.outerHTML.slice(0, 200);
  }
  return document.querySelectorAll('video').length;
}"""


def test_a_comparison_opens_from_disk(make_run, evaluation, browser, complaints, tmp_path):
    runs = [make_run("one"), make_run("two", width=24), make_run("three", evaluation | {"tokenizer": {"psnr": 50.0}})]
    draw_report(runs, tmp_path)
    page = browser.new_page(viewport={"width": 390, "height": 844})
    found = complaints(page)
    page.on("request", lambda request: request.url.startswith(("file:", "data:")) or found.append(request.url))
    page.goto((tmp_path / "report.html").as_uri())
    assert page.evaluate(PLAYS) == 3
    assert page.evaluate("[...document.images].every(image => image.complete && image.naturalWidth > 0)")
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")  # tables scroll in themselves
    shown = "[...document.querySelectorAll('video, .strip')].map(one => [one.localName, one.offsetHeight > 0])"
    assert dict(page.evaluate(shown)) == {"video": True, "div": False}
    page.emulate_media(media="print")
    assert dict(page.evaluate(shown)) == {"video": False, "div": True}  # paper shows moments instead
    page.close()
