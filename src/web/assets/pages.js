// What pages do besides, where scripts run: copy, and times in the reader's zone. Nothing needs it.
"use strict";

for (const time of document.querySelectorAll("time[datetime]:not(.ago)")) {
  const at = new Date(time.dateTime);
  if (!Number.isNaN(at.getTime())) {
    time.textContent = at.toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });
  }
}

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

// A page that has shown a secret is not shown again, neither by a reload nor by the way back.
if (document.querySelector("[data-secret]")) {
  history.replaceState(null, "", "/settings/personal-access-tokens");
  window.addEventListener("pagehide", () => document.querySelector("[data-secret]")?.remove());
}

for (const page of document.querySelectorAll("[data-fragment]")) {
  if (location.hash === page.dataset.fragment) location.replace(page.dataset.leadsTo);
}
