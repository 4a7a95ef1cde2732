// Swaps the parts of the page that changed, and shows local times. The page works without it.
"use strict";

(() => {
  const events = document.body.dataset.events;
  const RETRY_MS = 5000;
  const PAUSE_MS = 1000;
  // At most a tenth of the time is spent loading, so that many open pages leave a busy service and a slow line free.
  const PAUSE_SHARE = 10;
  const served = new Map();

  const text = new Intl.DateTimeFormat(undefined, {
    day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23",
  });

  function localize(root) {
    for (const time of root.querySelectorAll("time")) {
      const at = new Date(time.dateTime);
      if (!Number.isNaN(at.getTime())) time.textContent = text.format(at);
    }
  }

  function showZone() {
    const zone = document.getElementById("zone");
    const name = Intl.DateTimeFormat().resolvedOptions().timeZone;
    if (zone) zone.textContent = name === "UTC" ? "Times are UTC. " : `Times are ${name}; hover one for UTC. `;
  }

  function live(root) {
    return [...root.querySelectorAll("[data-live]")].filter((part) => part.id);
  }

  // What a person types or has open is left as it is.
  function isInUse(part) {
    const active = document.activeElement;
    const types = active && active.matches("input, select, textarea") && part.contains(active);
    return types || part.querySelector("details[open]");
  }

  // The element that had the focus, by its address within the part.
  function focusOf(part) {
    const active = document.activeElement;
    if (!active || !part.contains(active)) return () => {};
    const key = active.id ? `#${CSS.escape(active.id)}`
      : active.getAttribute("href") ? `a[href="${CSS.escape(active.getAttribute("href"))}"]` : null;
    return () => {
      const again = key && document.querySelector(key);
      if (again) again.focus({ preventScroll: true });
    };
  }

  function swap(fresh) {
    document.title = fresh.title;
    for (const part of live(fresh)) {
      const now = document.getElementById(part.id);
      const html = part.outerHTML;
      if (!now || served.get(part.id) === html || isInUse(now)) continue;
      served.set(part.id, html);
      const focus = focusOf(now);
      localize(part);
      now.replaceWith(part);
      focus();
    }
  }

  let loading = false, again = false;
  async function refresh() {
    if (loading) { again = true; return; }
    loading = true;
    const began = performance.now();
    try {
      const answer = await fetch(location.href, { headers: { accept: "text/html" } });
      if (answer.redirected && new URL(answer.url).pathname !== location.pathname) { location.reload(); return; }
      if (answer.ok) swap(new DOMParser().parseFromString(await answer.text(), "text/html"));
      // Too many pages listen: each attempt to listen loads this one.
      if (answer.ok && lost) connected("Loaded every few seconds.");
      // The service has too much to do.
      if (answer.status === 503) again = true;
    } catch {
      // The event source shows that the service cannot be reached.
    }
    // The random part keeps open views from loading all at once.
    const pause = PAUSE_MS * (1 + Math.random()) + PAUSE_SHARE * (performance.now() - began);
    setTimeout(() => {
      loading = false;
      if (again) { again = false; refresh(); }
    }, pause);
  }

  function concerns(event) {
    const { streams } = JSON.parse(event.data || "{}");
    const shown = location.pathname.split("/page/streams/")[1];
    return !shown || !streams || streams.includes(decodeURIComponent(shown));
  }

  let source = null, lost = null;
  function show(state, isLost = false) {
    const link = document.getElementById("link");
    if (link && link.textContent !== state) link.textContent = state;
    document.body.classList.toggle("lost", isLost);
  }
  // An old page must not look like the truth of now.
  function disconnected() {
    if (lost) return;
    const since = text.format(new Date());
    show("Not connected; trying again.");
    lost = setTimeout(show, 2 * RETRY_MS, `The service has not been reachable since ${since}; the page shows what was known then.`, true);
  }
  function connected(state) {
    clearTimeout(lost);
    lost = null;
    show(state);
  }
  function listen() {
    if (source || document.hidden) return;
    source = new EventSource(events);
    source.onopen = () => connected("Live.");
    source.onerror = () => {
      disconnected();
      if (source && source.readyState === EventSource.CLOSED) {
        source = null;
        setTimeout(() => { refresh(); listen(); }, RETRY_MS);
      }
    };
    for (const kind of ["incident", "alert", "minute", "health", "reset"]) {
      source.addEventListener(kind, (event) => { if (concerns(event)) refresh(); });
    }
  }

  for (const part of live(document)) served.set(part.id, part.outerHTML);
  localize(document);
  showZone();
  // A slider of tenths shows its value beside it.
  for (const output of document.querySelectorAll("output")) {
    const slider = document.getElementById(output.htmlFor.value);
    slider.addEventListener("input", () => { output.textContent = (slider.value / 10).toFixed(1); });
  }
  if (!events) return;
  listen();
  // While the tab is hidden there is no connection.
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) {
      if (source) source.close();
      source = null;
    } else {
      refresh();
      listen();
    }
  });
})();
