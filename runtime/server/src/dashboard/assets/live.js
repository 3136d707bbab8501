// What a page gains with a script: it stays fresh, times count on, many rows are ticked at once. Every page works
// without it.
"use strict";
(() => {
  const root = document.documentElement;
  const byId = (id) => document.getElementById(id);
  const lamp = byId("live");
  const tell = (state, text) => {
    if (!lamp) return;
    lamp.dataset.state = state;
    lamp.textContent = text;
  };

  // --- times ---
  const words = (seconds) => {
    const s = Math.abs(seconds);
    if (s < 60) return `${Math.floor(s)} s`;
    if (s < 3600) return `${Math.floor(s / 60)} min`;
    if (s < 86400) return `${Math.floor(s / 3600)} h`;
    return `${Math.floor(s / 86400)} d`;
  };
  // The host's clock counts: this machine's may be wrong.
  const skew = Number(root.dataset.now || Date.now()) - Date.now();
  const retime = () => {
    for (const time of document.querySelectorAll("time[data-at]")) {
      const seconds = (Date.now() + skew - Number(time.dataset.at)) / 1000;
      const text = seconds >= 0 ? `${words(seconds)} ago` : `in ${words(seconds)}`;
      if (time.textContent !== text) time.textContent = text;
    }
  };
  setInterval(retime, 1000);

  // --- ticks ---
  const recount = (form) => {
    const rows = [...form.querySelectorAll("input[name=id]")];
    const ticked = rows.filter((row) => row.checked).length;
    const all = form.querySelector("input[data-all]");
    if (all) {
      all.checked = ticked > 0 && ticked === rows.length;
      all.indeterminate = ticked > 0 && ticked < rows.length;
    }
    const told = form.querySelector("[data-told]");
    if (told) told.textContent = ticked ? `${ticked} selected` : told.dataset.told;
    for (const button of form.querySelectorAll("button[data-needs-ticks]")) button.disabled = ticked === 0;
  };
  const recountAll = () => document.querySelectorAll("form[data-ticks]").forEach(recount);
  let last = null;
  document.addEventListener("click", (event) => {
    const box = event.target;
    if (!(box instanceof HTMLInputElement) || box.type !== "checkbox") return;
    const form = box.closest("form[data-ticks]");
    if (!form) return;
    const rows = [...form.querySelectorAll("input[name=id]")];
    if ("all" in box.dataset) rows.forEach((row) => { row.checked = box.checked; });
    else if (event.shiftKey && last && rows.includes(last)) {
      const [from, to] = [rows.indexOf(last), rows.indexOf(box)].sort((a, b) => a - b);
      rows.slice(from, to + 1).forEach((row) => { row.checked = box.checked; });
    }
    if (box.name === "id") last = box;
    recount(form);
  });
  for (const all of document.querySelectorAll("[data-scripted]")) all.hidden = false;
  recountAll();

  // --- copying ---
  document.addEventListener("click", async (event) => {
    const button = event.target instanceof Element ? event.target.closest("button[data-copy]") : null;
    if (!button) return;
    const from = byId(button.dataset.copy);
    if (!from || !navigator.clipboard) return;
    await navigator.clipboard.writeText(from.textContent);
    const was = button.textContent;
    button.textContent = "Copied";
    setTimeout(() => { button.textContent = was; }, 1500);
  });

  // --- keys ---
  document.addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.target instanceof Element && event.target.closest("input, textarea, select, [contenteditable]")) return;
    const search = document.querySelector("input[type=search]");
    if (!search) return;
    event.preventDefault();
    search.focus();
  });

  // --- freshness: the page is asked for again, and the parts that changed are taken over ---
  // What somebody types into, or is asked, stays until that is done.
  const typed = (part) => part.contains(document.activeElement) && document.activeElement.matches("input:not([type=checkbox]), textarea, select");
  const busy = (part) => typed(part) || part.querySelector(".ask:popover-open") !== null;
  // Times count on by themselves; what they stood at is no change.
  const plain = (node) => node.outerHTML.replace(/(<time[^>]*>)[^<]*/g, "$1");
  const shown = new Map([...document.querySelectorAll("[data-live]")].map((part) => [part.id, plain(part)]));
  const take = (fresh) => {
    for (const part of document.querySelectorAll("[data-live]")) {
      const now = fresh.getElementById(part.id);
      if (!now || busy(part)) continue;
      const text = plain(now);
      if (shown.get(part.id) === text) continue;
      shown.set(part.id, text);
      const ticked = new Set([...part.querySelectorAll("input[name=id]:checked")].map((box) => box.value));
      const focused = part.contains(document.activeElement) ? document.activeElement : null;
      const [href, value] = [focused?.getAttribute("href"), focused?.getAttribute("value")];
      const next = document.importNode(now, true);
      // What was unfolded stays so, as long as there is as much of it.
      const [folds, nextFolds] = [part, next].map((in_) => [...in_.querySelectorAll("details")]);
      if (folds.length === nextFolds.length) nextFolds.forEach((fold, at) => { fold.open = folds[at].open; });
      for (const box of next.querySelectorAll("input[name=id]")) box.checked = ticked.has(box.value);
      for (const all of next.querySelectorAll("[data-scripted]")) all.hidden = false;
      part.replaceWith(next);
      const same = (node) => (href && node.getAttribute("href") === href) || (value && node.getAttribute("value") === value);
      if (focused) [...next.querySelectorAll("a, input, button")].find(same)?.focus();
    }
    retime();
    recountAll();
  };
  // --- what the host cannot show now: its own words at the top, until the page is whole again ---
  const fault = () => byId("fault");
  const why = (note) => `Not up to date: ${note.dataset.title.charAt(0).toLowerCase()}${note.dataset.title.slice(1)}`;
  const complain = (note) => {
    const text = note.textContent;
    if (fault()?.textContent !== text) {
      fault()?.remove();
      (byId("main") ?? document.body).prepend(note);
    }
    tell("lost", why(note));
  };
  // Of a page that has no words for it.
  const worded = (title, text) => {
    const note = document.createElement("div");
    note.id = "fault";
    note.className = "note is-bad";
    note.setAttribute("role", "alert");
    note.dataset.title = title;
    note.textContent = text;
    return note;
  };
  const told = (answer, fresh) => {
    const note = fresh.getElementById("fault");
    if (note) return document.importNode(note, true);
    return worded("there is no such page now", `The host answered ${answer.status}. This page looks again by itself.`);
  };
  // A page that was a fault from the start is asked for anew as a whole.
  const isFault = "again" in root.dataset;
  // No answer for so long: the store or the way to the host is stuck.
  const PATIENCE = 8000;
  let asking = false;
  let again = false;
  const refresh = async () => {
    if (document.hidden) return;
    if (asking) { again = true; return; }
    asking = true;
    const stuck = setTimeout(() => tell("lost", "Not up to date: no answer yet"), PATIENCE);
    try {
      const answer = await fetch(location.href, { headers: { "x-refresh": "1" }, redirect: "manual" });
      if (answer.type === "opaqueredirect" || answer.status === 401) { location.reload(); return; }
      const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
      if (isFault) { if (answer.ok) location.reload(); } else {
        take(fresh);
        if (!answer.ok || !fresh.querySelector("[data-live]")) complain(told(answer, fresh));
        else {
          fault()?.remove();
          if (!source || source.readyState === EventSource.OPEN) tell("on", "Live");
          else tell("slow", "Looks every few seconds");
        }
      }
    } catch { if (!isFault) complain(worded("the host does not answer", "This host does not answer, or the way to it is down. This page looks again by itself.")); }
    clearTimeout(stuck);
    asking = false;
    if (again) { again = false; soon(); }
  };
  // Many things may happen in a moment: one look is enough.
  let pending = null;
  const soon = () => { pending ??= setTimeout(() => { pending = null; refresh(); }, 700); };

  let source = null;
  const up = () => { if (fault()) soon(); else tell("on", "Live"); };
  if (isFault) setInterval(soon, 3000);
  else if (document.querySelector("[data-live]")) {
    const stream = root.dataset.stream;
    const listen = () => {
      source = new EventSource(stream);
      source.onopen = up;
      source.onmessage = soon;
      source.addEventListener("dropped", soon);
      source.onerror = () => {
        if (source.readyState !== EventSource.CLOSED) return;
        // Whether the host is there at all the next look says.
        soon();
        setTimeout(listen, 3000);
      };
    };
    if (fault()) tell("lost", why(fault()));
    if (stream) listen();
    else up();
    // What no event tells of: ages, health, hosts.
    setInterval(soon, Number(root.dataset.every || 5000));
    document.addEventListener("visibilitychange", () => { if (!document.hidden) refresh(); });
  }

  // --- a log that grows ---
  const log = document.querySelector("[data-log]");
  if (log) {
    const box = log.parentElement;
    const lines = new EventSource(log.dataset.log);
    lines.onmessage = (event) => {
      const atEnd = box.scrollHeight - box.scrollTop - box.clientHeight < 40;
      const line = document.createElement("li");
      line.textContent = JSON.parse(event.data);
      log.append(line);
      byId("no-log")?.remove();
      if (atEnd) box.scrollTop = box.scrollHeight;
    };
    lines.addEventListener("end", () => { lines.close(); refresh(); });
    lines.onerror = () => { if (lines.readyState === EventSource.CLOSED) refresh(); };
    box.scrollTop = box.scrollHeight;
  }
})();
