// Replaces the parts of the page that have changed, as the server renders them. Without script, the page reloads itself.
"use strict";

const link = document.getElementById("link");
const pause = document.getElementById("pause");
const said = document.getElementById("said");
let paused = false;

// Shows the state of the connection; unchanged text is not written again, so that screen readers stay silent.
function tell(text, state) {
  if (link.textContent !== text) link.textContent = text;
  document.documentElement.dataset.link = state;
}

const source = new EventSource("/events");
source.addEventListener("open", () => tell(paused ? "paused" : "live", "live"));
source.addEventListener("error", () => tell("connection lost, reconnecting", "lost"));
source.addEventListener("parts", (event) => {
  if (paused) return;
  for (const [id, markup] of Object.entries(JSON.parse(event.data))) {
    const place = document.getElementById(id);
    if (place) place.innerHTML = markup;
  }
  document.documentElement.dataset.pictures = Number(document.documentElement.dataset.pictures ?? 0) + 1;
});

// Pauses the updates, so that numbers can be read. Resuming reloads the page.
pause.hidden = false;
pause.addEventListener("click", () => {
  paused = !paused;
  pause.setAttribute("aria-pressed", String(paused));
  if (!paused) location.reload();
  tell(paused ? "paused" : "live", "live");
});

// Submits the load forms without leaving the page.
for (const form of document.querySelectorAll("form.load")) {
  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    const body = new URLSearchParams(new FormData(form, event.submitter));
    const answer = await fetch(form.action, { method: "POST", body, headers: { "x-requested-with": "console" } });
    said.textContent = answer.ok ? "" : await answer.text();
  });
}
