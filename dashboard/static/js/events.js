// One stream of server-sent events for a page; closed while nobody looks, since a browser has few connections to give.

const banner = document.getElementById("banner");
let masterDown = "";
let streamDown = false;

function draw() {
  const text = streamDown ? "The dashboard does not answer; trying again until it does." : masterDown;
  banner.hidden = !text;
  if (banner.textContent !== text) banner.textContent = text;
  const dot = document.querySelector("#master .dot");
  if (dot) dot.className = `dot ${text ? "down" : "up"}`;
}

function onMaster(master) {
  masterDown = master.up ? "" : `The master at ${master.address || "its address"} is away (${master.reason}). What you see is the last that was known; it goes on by itself.`;
  draw();
}

/**
 * Listen. `handlers` maps names of events to functions of their data; `onOpen` is called at each (re)connection, when
 * what was read before may be out of date. One listener for a page.
 */
export function listen(topics, handlers, onOpen = () => {}) {
  let source = null;
  let failing = 0;

  function open() {
    source = new EventSource(`/events?${topics.map((topic) => `topic=${encodeURIComponent(topic)}`).join("&")}`);
    source.onopen = () => { clearTimeout(failing); failing = 0; streamDown = false; draw(); onOpen(); };
    source.onerror = () => {
      if (!failing) failing = setTimeout(() => { streamDown = true; draw(); }, 700);
      if (source.readyState === EventSource.CLOSED) {
        // Not an event stream: logged out, or too many browsers.
        source.close();
        setTimeout(async () => {
          const answer = await fetch("/api/v1/history").catch(() => null);
          if (answer?.status === 401) location.reload();
          else if (!document.hidden) open();
        }, 1500);
      }
    };
    const all = { master: onMaster, ...handlers };
    if (handlers.master) all.master = (data) => { onMaster(data); handlers.master(data); };
    for (const [name, handler] of Object.entries(all)) {
      source.addEventListener(name, (event) => handler(JSON.parse(event.data)));
    }
  }

  document.addEventListener("visibilitychange", () => {
    if (document.hidden) { source?.close(); clearTimeout(failing); failing = 0; }
    else if (!source || source.readyState === EventSource.CLOSED) open();
  });
  window.addEventListener("pagehide", () => source?.close());
  window.addEventListener("pageshow", (event) => { if (event.persisted) open(); });
  open();
  return {
    /** Listen to one more topic. */
    add(topic) {
      if (topics.includes(topic)) return;
      topics.push(topic);
      if (source && source.readyState !== EventSource.CLOSED) { source.close(); open(); }
    },
  };
}
