// The page of genie.play. What is said over the WebSocket is described in genie/play_server/messages.py.

const MOST_THUMBNAILS = 300; // older ones leave the filmstrip; the download has them all
const SHOWN_CLIPS = 12;
const NAMES = { ArrowUp: "↑", ArrowDown: "↓", ArrowLeft: "←", ArrowRight: "→" };

const $ = (id) => document.getElementById(id);
const canvas = $("world");
const picture = canvas.getContext("2d");
let mostDoubt = 0.02; // nats of a token in the mean, where the border is as red as it gets; a world may be less sure
const LONGEST_LINK = 8000; // characters: servers and chats cut longer ones
const TOO_LONG = "This session is too long for a link: save it as JSON, which can be dropped on the page.";
const PAD = { 0: 0, 1: 1, 2: 2, 3: 3 }; // buttons of a gamepad -> actions, where no direction is meant
const PAD_ARROWS = { 12: "ArrowUp", 13: "ArrowDown", 14: "ArrowLeft", 15: "ArrowRight" };
const PAD_COMMANDS = { 4: "back", 5: "step", 8: "reset", 9: "pause" }; // shoulders, select, start

let socket = null;
let world = null; // the server's "welcome"
let state = null; // the server's last "state"
let rollout = -1;
let press = 0; // number of the last "hold" that was sent
let waiting = null; // {press, at}: a key press that no frame has answered yet
let shown = []; // times of the frames of the last seconds
let held = []; // [{source, action}], the newest last: it acts
let ended = false;

// ------------------------------------------------------------------ connection

function connect() {
  ended = false;
  say("");
  const address = new URL("ws", location.href);
  address.search = location.search; // ?real=1, ?fork=<session>
  address.hash = "";
  address.protocol = address.protocol.replace("http", "ws");
  socket = new WebSocket(address);
  socket.binaryType = "arraybuffer";
  let drawing = Promise.resolve();
  socket.onmessage = ({ data }) => {
    if (typeof data === "string") receive(JSON.parse(data));
    else drawing = drawing.then(() => show(data)).catch((error) => console.error(error));
  };
  socket.onclose = () => {
    if (!ended) finish("The connection to the server is gone.");
  };
}

function send(message) {
  if (socket?.readyState === WebSocket.OPEN) socket.send(JSON.stringify(message));
}

function receive(message) {
  if (message.type === "welcome") welcome(message);
  else if (message.type === "state") settle(message);
  else if (message.type === "back") wentBack(message);
  else if (message.type === "notice") {
    goingBack = false;
    say(message.message);
  }
  else if (message.type === "end") finish(message.message);
}

function finish(text) {
  ended = true;
  held = [];
  say(text.charAt(0).toUpperCase() + text.slice(1) + (text.endsWith(".") ? "" : "."), true);
  document.body.classList.remove("playing");
  for (const button of document.querySelectorAll("main button")) button.disabled = true;
}

let forgetting = 0;
function say(text, over = false) {
  $("message-text").textContent = text;
  $("message").hidden = !text;
  $("again").hidden = !over;
  clearTimeout(forgetting);
  if (text && !over) forgetting = setTimeout(() => say(""), 8000);
}

// ---------------------------------------------------------------------- state

function welcome(message) {
  world = message;
  rollout = -1;
  goingBack = false;
  $("run").textContent = message.run;
  canvas.width = message.width;
  canvas.height = message.height;
  const scale = Math.max(1, Math.floor(512 / Math.max(message.width, message.height)));
  $("screen").style.setProperty("--wide", `${message.width * scale}px`);
  for (const button of document.querySelectorAll("main button")) button.disabled = false;
  $("actions").replaceChildren(...message.actions.map(actionButton));
  $("sampler").replaceChildren(...message.samplers.map((name) => new Option(name === "run" ? "as started" : name, name)));
  $("clip-row").hidden = $("clips").hidden = message.clips === null;
  $("text-row").hidden = !message.takes_text;
  if (message.clips !== null) {
    $("clip").max = message.clips - 1;
    $("clip-count").textContent = `0 … ${message.clips - 1}`;
    const count = Math.min(SHOWN_CLIPS, message.clips);
    const indices = Array.from({ length: count }, (_, i) => Math.floor((i * message.clips) / count));
    $("clips").replaceChildren(...indices.map(clipButton));
  }
  document.body.classList.add("playing");
  $("with-real").checked = asked("real");
  $("with-real").parentElement.hidden = !message.has_game;
  $("beside").hidden = $("screen").querySelector("figcaption").hidden = true;
  if (asked("fork")) history.replaceState(null, "", address({ fork: null })); // a reload begins anew
  if (location.hash.startsWith("#session=")) replay(location.hash.slice("#session=".length));
}

const asked = (name) => new URLSearchParams(location.search).has(name);

// The page's own address with other parameters; null takes one away.
function address(changes, hash = "") {
  const url = new URL(location.href);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) url.searchParams.delete(name);
    else url.searchParams.set(name, value);
  }
  url.hash = hash;
  return url.href;
}

function settle(message) {
  state = message;
  document.body.classList.toggle("paused", message.paused);
  $("pause").setAttribute("aria-pressed", message.paused);
  $("pause").firstElementChild.textContent = message.paused ? "Play" : "Pause";
  fill($("fps"), round(message.fps));
  fill($("seed"), message.seed);
  fill($("steps"), message.sampler.steps);
  fill($("temperature"), round(message.sampler.temperature));
  $("sampler").value = message.sampler.name;
  $("sketch").checked = message.sketch;
  if (message.clip !== null) {
    fill($("clip"), message.clip);
    $("thumbnail").src = `clips/${message.clip}.png`;
  }
  for (const button of $("clips").children) button.setAttribute("aria-pressed", Number(button.dataset.clip) === message.clip);
}

function fill(input, value) {
  if (document.activeElement !== input || input.dataset.sent === "yes") input.value = value;
  input.dataset.sent = "";
}

const round = (value) => Math.round(value * 100) / 100;

// --------------------------------------------------------------------- frames

async function show(data) {
  const length = new DataView(data).getUint32(0);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, length)));
  if (header.rollout < rollout) return;
  const [bitmap, real] = await Promise.all([
    decode(new Uint8Array(data, 4 + length, header.length)),
    decode(new Uint8Array(data, 4 + length + header.length)),
  ]);
  if (header.rollout < rollout) return; // it went back while this one was decoded
  if (header.rollout > rollout) {
    rollout = header.rollout;
    shown = [];
    $("film").replaceChildren();
  }
  picture.drawImage(bitmap, 0, 0);
  showReal(real);
  doubt(header.entropy);
  addThumbnail(bitmap, header);
  bitmap.close();
  measure(header);
  canvas.dataset.rollout = header.rollout;
  canvas.dataset.frame = header.number;
}

const decode = (bytes) => (bytes.length ? createImageBitmap(new Blob([bytes], { type: "image/png" })) : null);

// The border reddens with the entropy of the frame's tokens, up to that of the most doubtful frame so far.
function doubt(entropy) {
  mostDoubt = Math.max(mostDoubt, entropy ?? 0);
  canvas.style.setProperty("--doubt", `${Math.round((100 * (entropy ?? 0)) / mostDoubt)}%`);
  $("doubt").textContent = entropy === null ? "–" : `${entropy.toPrecision(2)} nats`;
}

function showReal(bitmap) {
  if (!bitmap) return;
  const real = $("real");
  if ($("beside").hidden) {
    real.width = bitmap.width;
    real.height = bitmap.height;
    $("beside").hidden = $("screen").querySelector("figcaption").hidden = false;
  }
  real.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
}

// Frames from `number` on are forgotten; that one comes again.
function wentBack({ rollout: now, number }) {
  goingBack = false;
  rollout = now;
  shown = [];
  for (const one of [...$("film").children]) if (Number(one.dataset.number) >= number) one.remove();
}

function addThumbnail(bitmap, header) {
  const film = $("film");
  const thumbnail = document.createElement("canvas");
  thumbnail.width = bitmap.width;
  thumbnail.height = bitmap.height;
  thumbnail.getContext("2d").drawImage(bitmap, 0, 0);
  thumbnail.className = header.action === null ? "given" : "made";
  const what = header.action === null ? "given" : world.actions[header.action].label;
  thumbnail.title = `${header.number}: ${what}`;
  thumbnail.dataset.number = header.number;
  $("action").textContent = what;
  const atEnd = film.scrollLeft + film.clientWidth > film.scrollWidth - 100;
  film.append(thumbnail);
  if (film.children.length > MOST_THUMBNAILS) film.firstElementChild.remove();
  if (atEnd) film.scrollLeft = film.scrollWidth; // unless the player looks at earlier ones
  const seconds = header.number / state.fps;
  $("count").textContent = `${header.number + 1} frames, ${seconds.toFixed(1)} s`;
  if (header.action !== null && header.number >= world.max_frames) say("This rollout is as long as it can be: keep it, and reset.");
}

function measure(header) {
  if (header.action === null || header.again) return;
  const now = performance.now();
  if (waiting && header.press >= waiting.press) {
    $("latency").textContent = `${Math.round(now - waiting.at)} ms`;
    waiting = null;
  }
  shown = shown.filter((time) => now - time < 3000);
  shown.push(now);
  if (shown.length > 2) {
    const rate = ((shown.length - 1) * 1000) / (now - shown[0]);
    $("rate").textContent = `${rate.toFixed(1)} of ${round(state.fps)}`;
  }
  $("passes").textContent = header.passes;
  $("slow").hidden = !header.many_passes;
  $("score").parentElement.hidden = header.score === null;
  if (header.score !== null) $("score").textContent = header.score.toFixed(1) + (header.terminal ? ", over" : "");
  $("model").textContent = `${Math.round(header.seconds * 1000)} ms`;
  $("model").parentElement.title = `how long the model took for one frame of ${header.together} player(s)`;
}

// -------------------------------------------------------------------- actions

function actionButton(action) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.action = action.index;
  const label = document.createElement("span");
  label.textContent = action.label;
  const keys = document.createElement("span");
  for (const key of action.keys) {
    const kbd = document.createElement("kbd");
    kbd.textContent = NAMES[key] ?? key;
    keys.append(kbd, " ");
  }
  if (world.effects) {
    const effect = new Image();
    effect.alt = "";
    effect.src = `actions/${action.index}.png`;
    button.append(effect);
    button.title = "what it does from the first prompt, when it is held";
  }
  button.append(label, keys);
  const names = action.keys.map((key) => key.replace("Arrow", "Arrow ").toLowerCase());
  button.setAttribute("aria-label", names.length ? `${action.label}, key ${names.join(" or ")}` : action.label);
  button.setAttribute("aria-keyshortcuts", action.keys.join(" "));
  button.onpointerdown = (event) => {
    if (event.button) return;
    button.setPointerCapture(event.pointerId);
    hold(`pointer ${event.pointerId}`, action.index);
  };
  button.onpointerup = button.onpointercancel = (event) => release(`pointer ${event.pointerId}`);
  button.oncontextmenu = (event) => event.preventDefault(); // a long touch holds
  button.onkeydown = (event) => {
    if (event.key !== "Enter" && event.key !== " ") return;
    event.preventDefault();
    if (!event.repeat) hold(`button ${event.code}`, action.index);
  };
  return button;
}

function hold(source, action) {
  held = held.filter((one) => one.source !== source);
  held.push({ source, action });
  acted();
}

function release(source) {
  const before = held.length;
  held = held.filter((one) => one.source !== source);
  if (held.length !== before) acted();
}

function acted() {
  const action = held.at(-1)?.action ?? null;
  press += 1;
  if (action !== null && !state?.paused) waiting ??= { press, at: performance.now() };
  send({ type: "hold", action, press });
  for (const button of $("actions").children) button.classList.toggle("held", Number(button.dataset.action) === action);
}

function releaseAll() {
  if (held.length) {
    held = [];
    acted();
  }
}

const typing = (target) =>
  (target instanceof HTMLInputElement && target.type !== "checkbox") || target instanceof HTMLSelectElement;

document.addEventListener("keydown", (event) => {
  if (typing(event.target) || event.ctrlKey || event.metaKey || event.altKey || !world || ended) return;
  const action = world.actions.find((one) => one.keys.includes(event.key));
  const command = { p: "pause", ".": "step", ",": "back", r: "reset" }[event.key.toLowerCase()];
  if (action) {
    event.preventDefault(); // arrows do not scroll while they play
    if (!event.repeat) hold(`key ${event.code}`, action.index);
  } else if (command && (!event.repeat || command === "step" || command === "back")) {
    event.preventDefault();
    $(command).click();
  }
});
document.addEventListener("keyup", (event) => {
  release(`key ${event.code}`);
  release(`button ${event.code}`);
});
window.addEventListener("blur", releaseAll);
document.addEventListener("visibilitychange", () => document.hidden && releaseAll());

// -------------------------------------------------------------------- gamepad

let pressed = new Set(); // buttons and directions of gamepads that are down

function pollGamepads() {
  const down = new Set();
  for (const pad of navigator.getGamepads?.() ?? []) {
    if (!pad?.connected) continue;
    pad.buttons.forEach((button, index) => button.pressed && down.add(`${index}`));
    const [x, y] = pad.axes;
    if (Math.abs(x) > 0.5) down.add(x < 0 ? "14" : "15");
    if (Math.abs(y) > 0.5) down.add(y < 0 ? "12" : "13");
  }
  for (const button of down) {
    if (pressed.has(button) || !world || ended) continue;
    const key = PAD_ARROWS[button];
    const action = key ? world.actions.find((one) => one.keys.includes(key)) : world.actions[PAD[button]];
    if (PAD_COMMANDS[button]) $(PAD_COMMANDS[button]).click();
    else if (action) hold(`pad ${button}`, action.index);
  }
  for (const button of pressed) if (!down.has(button)) release(`pad ${button}`);
  pressed = down;
  if (navigator.getGamepads?.().some((pad) => pad)) requestAnimationFrame(pollGamepads);
  else polling = false;
}
let polling = false;
window.addEventListener("gamepadconnected", () => {
  if (!polling) requestAnimationFrame(pollGamepads);
  polling = true;
});

// ------------------------------------------------------------------- controls

$("pause").onclick = () => send({ type: "pause", paused: !state.paused });
$("step").onclick = () => send({ type: "step" });
$("back").onclick = () => goBack(Number($("film").lastElementChild?.dataset.number) - 1);
$("film").onclick = ({ target }) => target.dataset.number && goBack(Number(target.dataset.number));

let goingBack = false; // one at a time: a key that repeats asks faster than the world can
function goBack(number) {
  if (goingBack || !(number >= 0)) return;
  goingBack = true;
  send({ type: "back", rollout, number });
}
$("with-real").onchange = () => location.assign(address({ real: $("with-real").checked ? "1" : null }));
$("fork").onclick = () => window.open(address({ fork: world.session }), "_blank");
$("reset").onclick = () => send({ type: "reset" });
$("again").onclick = connect;
$("random").onclick = () => send({ type: "reset", clip: Math.floor(Math.random() * world.clips) });

function whenChanged(id, message) {
  const input = $(id);
  input.onchange = () => {
    if (!input.checkValidity() || input.value === "") {
      input.reportValidity();
      settle(state);
      return;
    }
    input.dataset.sent = "yes";
    send(message(input.value));
  };
}
whenChanged("fps", (value) => ({ type: "settings", fps: Number(value) }));
whenChanged("steps", (value) => ({ type: "settings", steps: Number(value) }));
whenChanged("temperature", (value) => ({ type: "settings", temperature: Number(value) }));
whenChanged("sampler", (value) => ({ type: "settings", sampler: value }));
$("greedy").onclick = () => send({ type: "settings", sampler: "greedy" });
whenChanged("seed", (value) => ({ type: "reset", seed: Number(value) }));
whenChanged("clip", (value) => ({ type: "reset", clip: Number(value) }));

$("sketch").onchange = () => send({ type: "settings", sketch: $("sketch").checked });
$("text-row").onsubmit = (event) => {
  event.preventDefault();
  send({ type: "reset", text: $("text").value });
};

function clipButton(index) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.clip = index;
  button.setAttribute("aria-label", `Begin from clip ${index}`);
  button.title = `clip ${index}`;
  const image = new Image();
  image.alt = "";
  image.loading = "lazy";
  image.src = `clips/${index}.png`;
  button.append(image);
  button.onclick = () => send({ type: "reset", clip: index });
  return button;
}

async function upload(file) {
  if (!file || ended) return;
  if (file.name.endsWith(".json")) {
    play(await file.text());
    return;
  }
  if (file.size > world.max_upload) say(`This file is larger than ${world.max_upload / 2 ** 20} MB: make it smaller.`);
  else if (socket?.readyState === WebSocket.OPEN) socket.send(file);
}
$("file").onchange = () => {
  upload($("file").files[0]);
  $("file").value = ""; // so that the same picture can be chosen again
};
document.addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("dragging");
});
document.addEventListener("dragleave", (event) => event.relatedTarget ?? document.body.classList.remove("dragging"));
document.addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("dragging");
  upload(event.dataTransfer.files[0]);
});

function play(text) {
  try {
    send({ type: "replay", session: JSON.parse(text) });
  } catch {
    say("This file is not a session that was saved here.");
  }
}

// A link holds the saved session, deflated, in base64 that needs no escapes.
async function through(stream, bytes) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}

async function replay(packed) {
  try {
    const bytes = Uint8Array.from(atob(packed.replaceAll("-", "+").replaceAll("_", "/")), (one) => one.charCodeAt(0));
    play(new TextDecoder().decode(await through(new DecompressionStream("deflate-raw"), bytes)));
  } catch {
    say("This link is damaged.");
  }
}

$("link").onclick = async () => {
  const response = await fetch(`sessions/${world.session}/session.json`);
  if (!response.ok) return say("The session cannot be read.");
  const bytes = await through(new CompressionStream("deflate-raw"), new TextEncoder().encode(await response.text()));
  if (bytes.length > LONGEST_LINK) return say(TOO_LONG);
  const packed = btoa(String.fromCharCode(...bytes)).replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
  const link = address({ fork: null }, `session=${packed}`);
  if (link.length > LONGEST_LINK) return say(TOO_LONG);
  history.replaceState(null, "", link);
  try {
    await navigator.clipboard.writeText(link);
    say("The link is copied. It plays these actions again on this server.");
  } catch {
    say("The link is in the address bar. It plays these actions again on this server.");
  }
};

async function download(ending) {
  const button = $(ending);
  button.disabled = true;
  try {
    const response = await fetch(`sessions/${world.session}/session.${ending}`);
    if (!response.ok) throw new Error((await response.json()).detail);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(await response.blob());
    link.download = `session.${ending}`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  } catch (error) {
    say(`The download failed: ${error.message}.`);
  }
  button.disabled = ended;
}
$("mp4").onclick = () => download("mp4");
$("json").onclick = () => download("json");

connect();
