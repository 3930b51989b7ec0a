// What pages do besides, where scripts run: copy, and times in the reader's zone. Nothing needs it.
"use strict";

// Times that are told in UTC, in the reader's zone.
function localize(root) {
  for (const time of root.querySelectorAll("time[datetime]:not(.ago)")) {
    const at = new Date(time.dateTime);
    if (!Number.isNaN(at.getTime())) {
      time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
    }
  }
}
localize(document);

for (const button of document.querySelectorAll("[data-copy]")) {
  const field = document.getElementById(button.dataset.copy);
  const told = document.querySelector("[data-copied]");
  button.hidden = false;
  button.addEventListener("click", async () => {
    field.select();
    try {
      await navigator.clipboard.writeText(field.value);
      told.textContent = "Copied.";
    } catch {
      told.textContent = "It is selected: copy it with your keyboard.";
    }
  });
}

// A form that is sent once more before the answer to the first has come would lose that answer.
document.addEventListener("submit", (event) => {
  const form = event.target;
  if (form.dataset.sent) event.preventDefault();
  form.dataset.sent = "true";
  // Whoever has stopped it may send it again.
  setTimeout(() => delete form.dataset.sent, 10000);
});
// And whoever has come back to it, for which browsers keep whole pages.
window.addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  for (const form of document.querySelectorAll("form[data-sent]")) delete form.dataset.sent;
});

// A page that has shown a secret is not shown again, neither by a reload nor by the way back.
for (const secret of document.querySelectorAll("[data-secret]")) {
  history.replaceState(null, "", secret.dataset.secret);
  window.addEventListener("pagehide", () => secret.remove());
  window.addEventListener("pageshow", (event) => event.persisted && location.replace(secret.dataset.secret));
}

// Where an old link leads to is in its fragment, which stays behind when somebody signs in on the way.
for (const next of document.querySelectorAll("input[name=next]")) {
  if (location.hash.startsWith("#/")) next.value = location.hash.slice(1);
}
for (const page of document.querySelectorAll("[data-fragment]")) {
  if (location.hash === page.dataset.fragment) location.replace(page.dataset.leadsTo);
}
