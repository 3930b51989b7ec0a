// What changes while it is looked at. The server says that something has become of it; then the page is asked for anew, at most once a second,
// and what differs is changed: what has the focus, is selected or was opened stays as it is.
"use strict";

// Makes a node like a fresh one.
function become(old, fresh) {
  if (old.isEqualNode(fresh)) return;
  if (old.nodeName !== fresh.nodeName || old.id !== fresh.id || old.nodeType !== Node.ELEMENT_NODE) {
    old.replaceWith(fresh);
    return;
  }
  for (const { name } of [...old.attributes]) if (!fresh.hasAttribute(name)) old.removeAttribute(name);
  for (const { name, value } of fresh.attributes) if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  const known = new Map([...old.children].filter((child) => child.id).map((child) => [child.id, child]));
  const wanted = new Set([...fresh.children].map((child) => child.id));
  let at = old.firstChild;
  for (const child of [...fresh.childNodes]) {
    const same = child.id ? known.get(child.id) : undefined;
    // What is gone in front of it is taken away, so that it need not be moved itself, which would take the focus from it.
    while (same && at && at !== same && !(at.id && wanted.has(at.id))) {
      const next = at.nextSibling;
      at.remove();
      at = next;
    }
    if (same && same !== at) old.insertBefore(same, at);
    else if (!at || (child.id && !same) || (at.id && !child.id)) {
      old.insertBefore(child, at);
      continue;
    }
    const one = same ?? at;
    at = one.nextSibling;
    become(one, child);
  }
  while (at) {
    const next = at.nextSibling;
    at.remove();
    at = next;
  }
}

// How long the page that was asked for may take, and how long the server may say nothing: twice the time in which it says at least something,
// and more.
const PATIENCE = 10000;
const SILENCE = 40000;

for (const live of document.querySelectorAll("[data-live]")) {
  const lost = document.querySelector("[data-live-lost]");
  let events;
  let silence;
  let isAsking = false;
  let isStale = false;
  // Whether the server tells, and what it has told of is shown: who looks is told when either is not so.
  let isTold = true;
  let isShown = true;
  const warn = () => (lost.hidden = isTold && isShown);

  const show = (text) => {
    const fresh = new DOMParser().parseFromString(text, "text/html").querySelector("[data-live]");
    if (!fresh) return;
    localize(fresh);
    for (const entry of live.querySelectorAll("details[open][id]")) {
      fresh.querySelector(`#${CSS.escape(entry.id)}`)?.setAttribute("open", "");
    }
    become(live, fresh);
  };

  // Whether it has come, or will not come any more: then the way leads elsewhere.
  const ask = async () => {
    const answer = await fetch(location.href, { redirect: "error", signal: AbortSignal.timeout(PATIENCE) });
    if (answer.status === 401) {
      location.assign(`/sign-in?next=${encodeURIComponent(location.pathname + location.search)}`);
    } else if (answer.status === 404) {
      location.assign("/environments");
    } else if (answer.ok) {
      show(await answer.text());
    } else {
      return false;
    }
    return true;
  };

  const renew = async () => {
    if (isAsking) {
      isStale = true;
      return;
    }
    isAsking = true;
    isStale = false;
    // It may not come at all, or break off.
    isShown = await ask().catch(() => false);
    isStale ||= !isShown;
    warn();
    setTimeout(() => {
      isAsking = false;
      if (isStale && !document.hidden) renew();
    }, isShown ? 1000 : 3000);
  };

  const close = () => {
    clearTimeout(silence);
    events?.close();
  };

  const listen = () => {
    if (events && events.readyState !== EventSource.CLOSED) return;
    const opened = new EventSource(live.dataset.live);
    events = opened;
    // A connection that is dead says nothing of it.
    const heard = () => {
      clearTimeout(silence);
      silence = setTimeout(() => {
        isTold = false;
        warn();
        close();
        listen();
      }, SILENCE);
    };
    heard();
    opened.addEventListener("alive", heard);
    opened.addEventListener("message", () => {
      heard();
      renew();
    });
    opened.addEventListener("open", () => {
      heard();
      isTold = true;
      warn();
      // Whatever happened before, while nobody told.
      renew();
    });
    opened.addEventListener("error", () => {
      isTold = false;
      warn();
      // The browser tries again by itself where nothing was answered, and not where something else was. Why that is, the page itself is told.
      if (opened.readyState === EventSource.CLOSED) {
        setTimeout(() => {
          if (document.hidden || events !== opened) return;
          renew();
          listen();
        }, 3000);
      }
    });
  };

  // Of a page that nobody sees nothing is asked: a browser has few connections for all pages of a site.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) close();
    else listen();
  });
  if (!document.hidden) listen();
}
