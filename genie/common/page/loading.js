// Asks once a second whether it has been loaded, and says so where the command has ended instead.
const SECONDS = 1;

async function look() {
  let loaded;
  try {
    const answer = await fetch(location.href, { cache: "no-store" });
    loaded = !(await answer.text()).includes('id="loading"');
  } catch {
    document.querySelector("[role=status]").textContent = "The command has ended.";
    document.querySelector("progress").hidden = true;
    document.getElementById("hint").textContent = "What went wrong is printed where it was started.";
    return;
  }
  if (loaded) location.reload();
  else setTimeout(look, 1000 * SECONDS);
}

setTimeout(look, 1000 * SECONDS);
