// The page of genie.curate step=label. What the server answers is described in genie/curation/page.py.

const $ = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("#ratings button")];

let state = null;
let asking = false; // one request at a time: a key that is held must not rate the clips that come after

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
  const over = state.clip === null;
  $("clip").hidden = over;
  if (!over) $("clip").src = `clips/${state.clip}.png`;
  if (state.next !== null) new Image().src = `clips/${state.next}.png`; // so that it is there at once
  $("where").textContent = over ? "That was the last clip." : state.where;
  const left = state.enough - state.rated;
  const skipped = state.skipped ? `, ${state.skipped} skipped` : "";
  $("progress").textContent = `${state.rated} rated${skipped}, ${left > 0 ? `${left} to go` : "enough to train on; more help"}`;
  $("bar").max = state.enough;
  $("bar").value = Math.min(state.rated, state.enough);
  buttons.forEach((button, index) => {
    button.querySelector("output").textContent = `×${state.counts[index]}`;
    button.disabled = over;
  });
  $("skip").disabled = over;
  $("undo").disabled = state.rated + state.skipped === 0;
  $("file").textContent = `Every rating is in ${state.file} at once.`;
}

const rate = (rating) => state && state.clip !== null && ask("rate", { clip: state.clip, rating });
const undo = () => ask("undo", null);

for (const button of buttons) button.onclick = () => rate(Number(button.dataset.rating));
$("skip").onclick = () => rate(null);
$("undo").onclick = undo;

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  if (/^[1-5]$/.test(event.key)) rate(Number(event.key));
  else if (event.key.toLowerCase() === "s") rate(null);
  else if (event.key === "Backspace" || event.key.toLowerCase() === "u") undo();
  else return;
  event.preventDefault();
});

ask("state");
