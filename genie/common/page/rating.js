// What the pages on which something is rated share. What the server answers is described in genie/labeling/page_server.py.

const $ = (id) => document.getElementById(id);

// Runs the page, of which `page` says:
//   thing, answer: what is rated and what is said of it, in words
//   values: what the buttons say, in their order
//   keys: what keys say, beside those of the buttons "more"
//   pictures: the addresses of the pictures of thing number n, in the order of the page's
export function start(page) {
  const buttons = [...document.querySelectorAll("#answers button")];
  const images = [...document.querySelectorAll("#shown img")];
  let state = null;
  let asking = false; // one request at a time: a key that is held must not rate what comes after

  async function ask(path, body) {
    if (asking) return;
    asking = true;
    try {
      const options = body === undefined ? {} : { method: "POST", body: JSON.stringify(body), headers: { "content-type": "application/json" } };
      const answer = await fetch(path, options);
      const content = await answer.json();
      if (!answer.ok) throw new Error(content.detail);
      show(content);
      say("");
    } catch (error) {
      say(`This was not kept (${error.message}). Is the server still running?`);
    } finally {
      asking = false;
    }
  }

  function say(text) {
    $("message").textContent = text;
    $("message").hidden = !text;
  }

  function show(news) {
    state = news;
    const over = state.number === null;
    $("shown").hidden = over;
    if (!over) page.pictures(state.number).forEach((address, index) => { images[index].src = address; });
    if (state.next !== null) for (const address of page.pictures(state.next)) new Image().src = address; // so that they are there at once
    $("where").textContent = over ? `That was the last ${page.thing}.` : state.where;
    const left = state.enough - state.rated;
    const skipped = state.skipped ? `, ${state.skipped} skipped` : "";
    $("progress").textContent = `${state.rated} rated${skipped}, ${left > 0 ? `${left} to go` : "enough to train on; more help"}`;
    $("bar").max = state.enough;
    $("bar").value = Math.min(state.rated, state.enough);
    buttons.forEach((button, index) => {
      button.querySelector("output").textContent = `×${state.counts[page.values[index]]}`;
      button.disabled = over;
    });
    $("skip").disabled = over;
    $("undo").disabled = state.rated + state.skipped === 0;
    $("file").textContent = `Every ${page.answer} is in ${state.file} at once.`;
  }

  const rate = (value) => state && state.number !== null && ask("rate", { number: state.number, value });
  const undo = () => ask("undo", null);

  buttons.forEach((button, index) => { button.onclick = () => rate(page.values[index]); });
  $("skip").onclick = () => rate(null);
  $("undo").onclick = undo;

  addEventListener("keydown", (event) => {
    if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
    const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
    if (key in page.keys) rate(page.keys[key]);
    else if (key === "s") rate(null);
    else if (key === "Backspace" || key === "u") undo();
    else return;
    event.preventDefault();
  });

  ask("state");
}
