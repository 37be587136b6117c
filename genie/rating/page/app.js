// The page of genie.rate. What the server answers is described in genie/rating/page.py.

const $ = (id) => document.getElementById(id);
const buttons = [...document.querySelectorAll("#verdicts button")];
const keys = { ArrowLeft: "this", ArrowRight: "other", e: "equal" };

let state = null;
let asking = false; // one request at a time: a key that is held must not rate the pairs that come after

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
  const over = state.pair === null;
  $("pair").hidden = over;
  for (const side of ["this", "other"]) {
    if (!over) $(side).src = `pairs/${state.pair}/${side}.png`;
    if (state.next !== null) new Image().src = `pairs/${state.next}/${side}.png`; // so that it is there at once
  }
  $("where").textContent = over ? "That was the last pair." : state.where;
  const left = state.enough - state.rated;
  const skipped = state.skipped ? `, ${state.skipped} skipped` : "";
  $("progress").textContent = `${state.rated} rated${skipped}, ${left > 0 ? `${left} to go` : "enough to train on; more help"}`;
  $("bar").max = state.enough;
  $("bar").value = Math.min(state.rated, state.enough);
  for (const button of buttons) {
    button.querySelector("output").textContent = `×${state.counts[button.dataset.better]}`;
    button.disabled = over;
  }
  $("skip").disabled = over;
  $("undo").disabled = state.rated + state.skipped === 0;
  $("file").textContent = `Every verdict is in ${state.file} at once.`;
}

const rate = (better) => state && state.pair !== null && ask("rate", { pair: state.pair, better });
const undo = () => ask("undo", null);

for (const button of buttons) button.onclick = () => rate(button.dataset.better);
$("skip").onclick = () => rate(null);
$("undo").onclick = undo;

addEventListener("keydown", (event) => {
  if (event.repeat || event.ctrlKey || event.metaKey || event.altKey) return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (key in keys) rate(keys[key]);
  else if (key === "s") rate(null);
  else if (key === "Backspace" || key === "u") undo();
  else return;
  event.preventDefault();
});

ask("state");
